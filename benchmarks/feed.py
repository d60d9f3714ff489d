"""The feed: the time to replicate all tickets, and the lag of each ticket while many are sold."""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from benchmarks.testbed import Testbed, wait_for_replica

# The tables that the feed fills. The benchmark adds a column for the time at which a row arrives.
EMPTY = "TRUNCATE tickets, events, feed_cursors"
CLOCK = "ALTER TABLE tickets ADD COLUMN IF NOT EXISTS copy_time timestamptz DEFAULT clock_timestamp()"
TIMES = "SELECT ticket_id, {} FROM tickets WHERE event_id = '{}'"


def replication_seconds(testbed: Testbed, event_id: str, count: int) -> float:
    """Empty the replica and restart the scan service; return the seconds until it has `count` tickets of the event."""
    testbed.stop("scan_service")
    testbed.query("scans", EMPTY)
    testbed.start("scan_service", testbed.address("SCANS")[1])
    begin = time.perf_counter()
    wait_for_replica(testbed, event_id, count)
    return time.perf_counter() - begin


def lags(testbed: Testbed, event_ids: Iterable[str]) -> Sequence[float]:
    """Return the seconds between the sale of each ticket and its row in the scan database, ascending.

    A lag begins when the sales batch is decided, so it includes the commit of the sale. The call waits for all rows.
    """
    found = list[float]()
    for event_id in event_ids:
        sold: dict[object, datetime] = dict(testbed.query("tickets", TIMES.format("create_time", event_id)))
        wait_for_replica(testbed, event_id, len(sold))
        copied = testbed.query("scans", TIMES.format("copy_time", event_id))
        found += [(copy_time - sold[ticket_id]).total_seconds() for ticket_id, copy_time in copied]
    return sorted(found)
