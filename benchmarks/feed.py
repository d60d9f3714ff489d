"""The feed: how soon a new scan service has the tickets, and how late it hears of each while many are sold."""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from benchmarks.stand import Stand, wait_for_copy

# What the scan service knows by the feed; the columns of our own are for the clock of the lag.
EMPTY = "TRUNCATE tickets, events, feed_cursors"
CLOCK = "ALTER TABLE tickets ADD COLUMN IF NOT EXISTS copy_time timestamptz DEFAULT clock_timestamp()"
TIMES = "SELECT ticket_id, {} FROM tickets WHERE event_id = '{}'"


def copy_seconds(its: Stand, event_id: str, count: int) -> float:
    """Empty the scan service's copy and start it anew; return when it has `count` tickets of an event again."""
    its.stop("scan_service")
    its.query("scans", EMPTY)
    its.start("scan_service", its.address("SCANS")[1])
    begin = time.perf_counter()
    wait_for_copy(its, event_id, count)
    return time.perf_counter() - begin


def lags(its: Stand, event_ids: Iterable[str]) -> Sequence[float]:
    """Return the seconds between each ticket's sale and its row in the scan service's database, ascending.

    From the moment when its batch was decided; so it includes the sale's own commit. Waits for the latest of them.
    """
    found = list[float]()
    for event_id in event_ids:
        made: dict[object, datetime] = dict(its.query("tickets", TIMES.format("create_time", event_id)))
        wait_for_copy(its, event_id, len(made))
        copied = its.query("scans", TIMES.format("copy_time", event_id))
        found += [(copy_time - made[ticket_id]).total_seconds() for ticket_id, copy_time in copied]
    return sorted(found)
