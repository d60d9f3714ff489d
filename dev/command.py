"""Run a command of a service with the settings of `make up`: `python -m dev.command ticket_service audit`."""

import argparse
import os
import subprocess
import sys

from dev.up import environment
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly

SERVICES = ("ticket_service", "scan_service")


def main() -> int:
    """Run the command of the command line; return its exit status."""
    parser = Parser(
        prog="python -m dev.command", description="Run a command of a service with the settings of `make up`."
    )
    parser.add_argument("service", choices=SERVICES, help="the service, which lists its commands with --help")
    parser.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command with its arguments")
    given = parser.parse_args()
    command = [sys.executable, "-m", given.service, *given.words]
    process = subprocess.Popen(command, env=environment(os.environ))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C has reached the command too, which ends.
            continue


if __name__ == "__main__":
    sys.exit(quietly(main))
