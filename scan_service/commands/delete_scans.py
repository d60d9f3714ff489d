"""Delete old scans: `python -m scan_service delete-scans --days N`, for events that ended more than N days ago.

The admission state of the tickets, the incidents, and the scans that an incident lists stay.
"""

import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import URL

from scan_service.store.clock import DatabaseClock
from scan_service.store.old_scans import delete_page, read_events_with_scans
from scan_service.store.sessions import session
from ticketing.chassis.command_line import Command

# Devices upload their decisions long before, and organizers annul check-ins and cancel events until then.
MIN_DAYS: Final = 30
PAGE_SCANS: Final = 5_000
FIRST: Final = UUID(int=0)


def delete_scans(url: URL, days: int, write: Callable[[str], None] = print) -> int:
    """Delete the scans of events that ended more than `days` ago, page by page; a repetition continues."""
    with session(url) as connection:
        ended_before = DatabaseClock().read(connection) - timedelta(days=days)
        event_ids = read_events_with_scans(connection, ended_before)
    total = 0
    for event_id in event_ids:
        after: UUID | None = FIRST
        while after is not None:
            begin = time.monotonic()
            with session(url) as connection:
                deleted, after = delete_page(connection, event_id, ended_before, after, PAGE_SCANS)
            total += deleted
            # Half of the time belongs to the gates of other events.
            time.sleep(time.monotonic() - begin)
    write(f"{total} scans of {len(event_ids)} events deleted; those of incidents stay")
    return 0


def read_days(text: str) -> int:
    """Read a number of days, at least MIN_DAYS, from the command line."""
    if not (text.isascii() and text.isdecimal()) or not MIN_DAYS <= int(text) <= timedelta.max.days // 1_000:
        raise ArgumentTypeError(f"{text!r} is not a number of days from {MIN_DAYS}")
    return int(text)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", metavar="N", type=read_days, required=True, help=f"days since the end of the event, from {MIN_DAYS}"
    )


COMMAND: Final = Command(
    "delete-scans",
    "delete the scans of events that ended long ago, except those of incidents",
    lambda url, given: delete_scans(url, given.days),
    _add_arguments,
)
