"""Run a command of a service with the settings of `make up`: `python -m dev.command ticket_service audit`."""

import os
import subprocess
import sys

from dev.up import environment


def main() -> int:
    """Run the command of the command line; return its exit status."""
    return subprocess.run([sys.executable, "-m", *sys.argv[1:]], env=environment(os.environ), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
