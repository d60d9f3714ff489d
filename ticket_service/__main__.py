"""Run the ticket service, its relay alone, or a command of an operator: `python -m ticket_service --help` lists them."""

import os
import sys

from ticketing.chassis.interrupts import end_at_once, quietly

if __name__ == "__main__":
    end_at_once()
    # gRPC reads this when it is imported. Its lines are no JSON, and every failed handshake of a stranger is one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Imported here, because the import takes a second, in which Ctrl-C would print a traceback.
    from ticket_service.command_line import run

    sys.exit(quietly(run))
