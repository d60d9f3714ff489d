"""`python -m ticketing.gate enroll` makes this machine a gate device; `python -m ticketing.gate run` scans."""

import sys

from ticketing.gate.command import main

if __name__ == "__main__":
    sys.exit(main())
