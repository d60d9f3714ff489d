"""`python -m gate run` scans at a gate."""

import sys

from gate.command import main

if __name__ == "__main__":
    sys.exit(main())
