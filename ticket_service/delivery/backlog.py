"""Export how many notifications wait, and since when; warn while no relay takes them up."""

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.engine import Connection

from ticket_service.delivery.store import backlog as store
from ticket_service.delivery.store import receiver_states
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.metrics import database_gauge

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 15.0
# Counting a long backlog takes at most this share of the time.
MAX_SHARE: Final = 0.01
# A relay takes a notification up within a second, also if no receiver accepts it.
MAX_UNDISPATCHED: Final = timedelta(minutes=1)
WARNING_SECONDS: Final = 300.0

WAITING = database_gauge("notifications_waiting", "Notifications that a receiver did not get yet.", ["receiver"])
DEAD = database_gauge("notifications_dead", "Dead letters.", ["receiver"])
OLDEST = database_gauge(
    "notifications_oldest_seconds",
    "The age of the oldest notification that a receiver did not get yet; `outbox`: that no relay has taken up.",
    ["receiver"],
)
DISABLED = database_gauge("notifications_receiver_disabled", "1: the receiver answered that it is gone.", ["receiver"])
# The value of the label `receiver` for notifications that no relay has taken up.
OUTBOX: Final = "outbox"


class BacklogMetrics:
    """The sweeper that exports the backlog."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._next_count = 0.0
        self._next_warning = 0.0

    async def sweep(self) -> bool:
        """Read the backlog and set the metrics; return False."""
        begin = time.monotonic()
        undispatched = await self._database.run(store.oldest_outbox_time)
        self._warn(undispatched, begin)
        if begin >= self._next_count:
            backlogs, states = await self._database.read(_read)
            self._next_count = begin + (time.monotonic() - begin) / MAX_SHARE
            # The tables contain no row of a receiver without deliveries.
            for metric in (WAITING, DEAD, OLDEST, DISABLED):
                metric.clear()
            for backlog in backlogs:
                WAITING.labels(backlog.receiver).set(backlog.waiting)
                DEAD.labels(backlog.receiver).set(backlog.dead)
                OLDEST.labels(backlog.receiver).set(self._age(backlog.oldest_time))
            for state in states:
                DISABLED.labels(state.receiver).set(state.disabled_time is not None)
        OLDEST.labels(OUTBOX).set(self._age(undispatched))
        return False

    def _age(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._clock() - since).total_seconds())

    def _warn(self, undispatched: datetime | None, now: float) -> None:
        if undispatched is None or self._clock() - undispatched <= MAX_UNDISPATCHED or now < self._next_warning:
            return
        self._next_warning = now + WARNING_SECONDS
        log.warning(
            "no relay takes up notifications: start `python -m ticket_service relay` or set TICKETS_RELAY=built-in",
            extra={"oldest_time": undispatched.isoformat()},
        )


def _read(connection: Connection) -> tuple[list[store.ReceiverBacklog], list[receiver_states.ReceiverState]]:
    return store.count_backlogs(connection), receiver_states.find_states(connection)
