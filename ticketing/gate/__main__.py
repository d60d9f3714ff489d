"""`python -m gate enroll` makes this machine a gate device; `python -m gate run` scans."""

import sys

from ticketing.gate.command import main

if __name__ == "__main__":
    sys.exit(main())
