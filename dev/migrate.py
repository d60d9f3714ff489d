"""Migrate both databases without starting the services: `python -m dev.migrate`."""

import os
import subprocess
import sys

from dev.up import environment
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly


def main() -> int:
    """Run the `migrate` command of each service; return the first exit status that is not 0."""
    Parser(prog="python -m dev.migrate", description="Bring both databases to the newest schema.").parse_args()
    variables = environment(os.environ)
    for module in ("ticket_service", "scan_service"):
        status = subprocess.run([sys.executable, "-m", module, "migrate"], env=variables, check=False).returncode
        if status:
            return status
        print(f"{module}: the database has the newest schema")
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
