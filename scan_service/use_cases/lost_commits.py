"""The check whether the database has lost commits: it was restored, or a replica that lacked some was promoted.

The operator may not know of a failover. So every process checks where the database stands, and begins a recovery by
itself. After a failover that lost nothing, gate devices send again what they have shown in the last seconds, and nothing
changes: their replicas go on.
"""

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from prometheus_client import Counter
from sqlalchemy.engine import Connection

from scan_service.domain.recoveries import Cause, Recovery, find_lost_commits
from scan_service.store import recoveries as store
from scan_service.store.clock import DatabaseClock
from scan_service.use_cases.recoveries import Recoveries
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)

FOUND: Final = Counter(
    "ticketing_lost_commits",
    "Evidence that the database has lost commits: SERVER, TRANSACTIONS or CURSOR.",
    ["evidence"],
)
CURSOR: Final = "CURSOR"
for evidence in (Cause.SERVER, Cause.TRANSACTIONS, CURSOR):
    # Prometheus misses the growth of a series that begins with 1.
    FOUND.labels(evidence)
# All processes find the same loss within this time.
RECENT: Final = timedelta(minutes=1)
INTERVAL_SECONDS: Final = 5.0
# The log has one line in this time about devices with cursors beyond the database.
REPEAT_LOG_SECONDS: Final = 60.0


class LostCommits:
    """The task that checks the database."""

    def __init__(self, database: Database, recoveries: Recoveries, clock: DatabaseClock) -> None:
        self._database = database
        self._recoveries = recoveries
        self._clock = clock
        # The server where this process last saw the database, and its next transaction then.
        self._server, self._next_transaction = "", 0
        # A time before the last one that this process has stored; None: it has stored none.
        self._seen_time: datetime | None = None
        self._log_time = float("-inf")

    async def check(self) -> None:
        """Check once, begin a recovery where commits are lost, and export its progress."""
        await self._check()
        await self._recoveries.export()

    async def _check(self) -> None:
        now = await self._database.run(self._clock.read)
        if await self._database.run(self._find) is None:
            self._seen_time = now
            return
        await self._recoveries.rebase()
        begun = await self._database.run(self._begin)
        if begun is None:
            # Another process has begun it.
            return
        recovery, seen_time = begun
        FOUND.labels(recovery.cause).inc()
        # A failover without a loss has the last time that this process has stored, and so may one with a small loss.
        is_proven = self._seen_time is None or seen_time < self._seen_time
        log.log(
            logging.ERROR if is_proven else logging.WARNING,
            "the scans database was restored or failed over, and may lack its last commits; gate devices send again what"
            " they have shown; `python -m scan_service recover` shows the progress",
            extra={"recovery_id": recovery.recovery_id, "cause": recovery.cause, "since_time": recovery.since_time},
        )

    def report_cursor(self) -> None:
        """Report a device whose cursor is beyond the database; it proves nothing alone, because a device may invent it."""
        FOUND.labels(CURSOR).inc()
        if monotonic() - self._log_time >= REPEAT_LOG_SECONDS:
            self._log_time = monotonic()
            log.error(
                "a gate device has changes that the scans database lacks; it gets all of them anew; if the database was"
                " restored, run `python -m scan_service recover`"
            )

    def _find(self, connection: Connection) -> Cause | None:
        """Return the evidence that commits are lost; without any, store that the database was seen."""
        seen = store.see_server(connection)
        cause = find_lost_commits(seen, self._next_transaction if seen.present == self._server else 0)
        if cause is None:
            store.save_server(connection, seen, self._clock.read(connection))
            self._server, self._next_transaction = seen.present, seen.next_transaction
        return cause

    def _begin(self, connection: Connection) -> tuple[Recovery, datetime] | None:
        """Begin a recovery; return it with the last time of the server before. None: another process has begun it."""
        earlier = store.lock_open(connection)
        seen, now = store.see_server(connection), self._clock.read(connection)
        cause = find_lost_commits(seen, self._next_transaction if seen.present == self._server else 0)
        if cause is None or seen.last_time is None:
            return None
        if cause is Cause.TRANSACTIONS and earlier is not None and now - earlier.begin_time < RECENT:
            # Another process has found it too.
            self._server, self._next_transaction = seen.present, seen.next_transaction
            return None
        recovery = store.begin(connection, cause, seen.last_time, now, keeps_changes=seen.is_promoted)
        store.save_server(connection, seen, now)
        self._server, self._next_transaction = seen.present, seen.next_transaction
        return recovery, seen.last_time
