"""Run the ticket service, its relay alone, or a command of an operator: `python -m ticket_service --help` lists them."""

import sys

from ticketing.chassis.grpc_variables import set_grpc_variables
from ticketing.chassis.interrupts import end_at_once, quietly

if __name__ == "__main__":
    end_at_once()
    set_grpc_variables()
    # Imported here, because the import takes a second, in which Ctrl-C would print a traceback.
    from ticket_service.command_line import run

    sys.exit(quietly(run))
