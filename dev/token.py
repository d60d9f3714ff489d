"""Print a development token: `python -m dev.token organizer alice`."""

import argparse
import os
import sys
from pathlib import Path

from dev.keys import development_keys
from ticketing.chassis.arguments import Parser
from ticketing.chassis.callers import CLAIMABLE
from ticketing.chassis.interrupts import quietly

EXAMPLE = "for example `make -s token ROLE=organizer SUB=alice`"


def main() -> int:
    """Print an access token for the role and the subject of the command line."""
    roles = sorted(role.value for role in CLAIMABLE)
    parser = Parser(prog="python -m dev.token", description=f"Print a development access token, {EXAMPLE}.")
    parser.add_argument("role", metavar="ROLE", type=_read_role, help=", ".join(roles))
    parser.add_argument("subject", metavar="SUB", type=_read_subject, help="the subject of the token, such as alice")
    given = parser.parse_args()
    keys = development_keys(Path(os.environ.get("TICKETING_DATA_DIR") or ".data"))
    print(keys.token(given.role, given.subject))
    return 0


def _read_role(text: str) -> str:
    roles = sorted(role.value for role in CLAIMABLE)
    if text not in roles:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(roles)}; {EXAMPLE}")
    return text


def _read_subject(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"is empty; {EXAMPLE}")
    return text


if __name__ == "__main__":
    sys.exit(quietly(main))
