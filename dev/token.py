"""Print a development token: `python -m dev.token organizer alice`."""

import argparse
import os
from pathlib import Path

from dev.keys import development_keys
from ticketing.chassis.callers import CLAIMABLE


def main() -> None:
    """Print an access token for the role and the subject of the command line."""
    parser = argparse.ArgumentParser(prog="python -m dev.token", description="Print a development access token.")
    parser.add_argument("role", choices=sorted(role.value for role in CLAIMABLE))
    parser.add_argument("subject", help="subject of the token, such as alice")
    arguments = parser.parse_args()
    keys = development_keys(Path(os.environ.get("TICKETING_DATA_DIR") or ".data"))
    print(keys.token(arguments.role, arguments.subject))


if __name__ == "__main__":
    main()
