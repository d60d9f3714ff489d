"""Export figures of the whole database: holds, unfinished work, owed refunds, and the places of the next events.

Every process exports the same values, so none depends on another process.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final

from ticket_service.domain.figures import Backlog, EventPlaces, Figures
from ticket_service.domain.owed_refunds import OwedRefundStatus
from ticket_service.store.figures import read_figures
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.metrics import database_gauge

INTERVAL_SECONDS: Final = 5.0
# The reads of a long backlog take at most this share of the time.
MAX_SHARE: Final = 0.05
# The characters of the name of an event in a label.
MAX_NAME: Final = 40

HOLDS: Final = database_gauge("ticketing_holds", "Purchases that are HELD.")
OVERDUE: Final = database_gauge(
    "ticketing_holds_overdue_seconds", "Time since the end of the first hold whose places have not returned to sale."
)
PENDING: Final = database_gauge(
    "ticketing_pending", "Unfinished cancellations, reissues, event cancellations and erasures.", ["work"]
)
PENDING_AGE: Final = database_gauge(
    "ticketing_pending_oldest_seconds", "Age of the oldest unfinished piece of work of a kind.", ["work"]
)
OWED: Final = database_gauge(
    "ticketing_refunds_owed", "Refunds that are owed and not made, as ListOwedRefunds lists them.", ["status"]
)
OWED_AGE: Final = database_gauge("ticketing_refunds_owed_oldest_seconds", "Age of the oldest owed refund.", ["status"])
UNMATCHED: Final = database_gauge(
    "ticketing_unmatched_payments", "Captured payments without a purchase that are not refunded."
)
RESERVED: Final = database_gauge(
    "ticketing_event_places_reserved", "Sold and held places of the next events on sale.", ["event_id", "name"]
)
LEFT: Final = database_gauge(
    "ticketing_event_places_left",
    "Places left of the next events on sale; events without a bound have none.",
    ["event_id", "name"],
)


class FiguresExport:
    """The sweeper that reads the figures and sets the gauges."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._next_read = 0.0
        self._events = set[tuple[str, str]]()

    async def sweep(self) -> bool:
        """Read the figures and set the gauges; return False."""
        begin = monotonic()
        if begin >= self._next_read:
            now = self._clock()
            figures = await self._database.run(partial(read_figures, now=now))
            self._next_read = begin + (monotonic() - begin) / MAX_SHARE
            _export(figures, now)
            self._export_events(figures.events)
        return False

    def _export_events(self, events: Sequence[EventPlaces]) -> None:
        present = {(str(event.event_id), event.name[:MAX_NAME]): event for event in events}
        for labels, event in present.items():
            RESERVED.labels(*labels).set(event.reserved)
            if event.left is not None:
                LEFT.labels(*labels).set(event.left)
        # The other events stay, so that a scrape in between misses none.
        for labels in self._events - present.keys():
            RESERVED.remove(*labels)
            LEFT.remove(*labels)
        self._events = set(present)


def _export(figures: Figures, now: datetime) -> None:
    HOLDS.set(figures.holds)
    OVERDUE.set(_age(figures.overdue_time, now))
    for work, backlog in figures.pending.items():
        PENDING.labels(work).set(backlog.count)
        PENDING_AGE.labels(work).set(_age(backlog.oldest_time, now))
    UNMATCHED.set(figures.unmatched_payments)
    for status in OwedRefundStatus:
        backlog = figures.owed_refunds.get(status, Backlog(0, None))
        OWED.labels(status).set(backlog.count)
        OWED_AGE.labels(status).set(_age(backlog.oldest_time, now))


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
