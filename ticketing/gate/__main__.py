"""`python -m ticketing.gate enroll` makes this machine a gate device; `python -m ticketing.gate run` scans."""

import sys

from ticketing.chassis.interrupts import end_at_once, quietly

if __name__ == "__main__":
    end_at_once()
    # Imported here, because the import takes half a second, in which Ctrl-C would print a traceback.
    from ticketing.gate.command import main

    sys.exit(quietly(main))
