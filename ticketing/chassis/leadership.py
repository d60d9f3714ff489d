"""Leader election by an advisory lock of PostgreSQL: one process does some tasks for all that share the database.

The lock only saves work: the tasks are also correct while two processes run them for a moment. So a leader whose process
hangs, and keeps the lock, loses it to another process.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from prometheus_client import Gauge

from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.tasks import BackgroundTask, Essential, Tasks

log = logging.getLogger(__name__)

LEADS: Final = Gauge("ticketing_leader", "1: this process does the tasks of the leader.")

# Any number that is the same in all processes; PostgreSQL scopes it to one database.
LOCK: Final = 7_205_759_403_792_795
POLL_SECONDS: Final = 1.0
# The time without a poll after which the session of a leader is ended.
LEADER_SECONDS: Final = 5.0
# The time without a leader at work after which a process is not ready. Another process has then had the time to lead.
SILENT_SECONDS: Final = 8.0
# A leader whose required task neither succeeds nor meets an outage for this time leaves the lock to others for a while.
# The time exceeds the timeouts of statements: a slow database is no reason to change the leader.
RESIGN_SECONDS: Final = 20.0
RESIGNED_SECONDS: Final = 3.0

# The session that has the lock, and the seconds since its last statement; another role's may be unknown (NULL).
_LEADER: Final = f"""
    SELECT l.pid, extract(epoch FROM clock_timestamp() - greatest(a.query_start, a.state_change))::float8
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = {LOCK >> 32} AND l.objid::bigint = {LOCK & 0xFFFF_FFFF}"""  # noqa: S608 - constants of this module

_END_LEADER: Final = f"SELECT pg_terminate_backend(pid) FROM ({_LEADER}) AS leader (pid, silent) WHERE silent > %s"  # noqa: S608 - constants of this module


class NobodyLeadsError(Exception):
    """Raised where neither this process nor another one does the tasks of the leader."""


class Leadership:
    """The election, as a background task: this process leads, or it watches the leader.

    An outage of something else, such as the other service, counts as a success: no other process could do better, and
    the processes stay ready.

    Args:
        connection: a connection that nothing else uses: PostgreSQL releases the lock when its session ends.
        required: the task without whose work nobody leads.
        others: the other tasks of the leader.
    """

    def __init__(
        self, connection: LoopConnection, tasks: Tasks, required: BackgroundTask, others: Sequence[BackgroundTask]
    ) -> None:
        self._connection = connection
        self._required = required
        self._tasks = [required, *others]
        self._resigned_until = 0.0
        essential = Essential(SILENT_SECONDS, excuses_outages=True)
        self.task = tasks.new("leadership", self._step, POLL_SECONDS, essential, max_backoff_seconds=POLL_SECONDS)

    async def _step(self) -> None:
        """Lead until another process has the lock, or check that another process leads.

        Raises:
            NobodyLeadsError: nobody does the tasks of the leader.
            Failure: DEPENDENCY_UNAVAILABLE where the database does not answer.
        """
        # A leader may end between the two questions, and its successor may be this process.
        for _ in range(2):
            if monotonic() >= self._resigned_until and await self._has_lock():
                await self._lead()
                return
            if await self._another_leads():
                return
        raise NobodyLeadsError("no process has the lock of the leader")

    async def _lead(self) -> None:
        log.info("this process leads")
        LEADS.set(1)
        for task in self._tasks:
            task.start()
        try:
            begin = monotonic()
            while await self._has_lock():
                # The report may be older than this leadership.
                last_report = max(self._required.record.report_time or 0.0, begin)
                silent_seconds = monotonic() - last_report
                if silent_seconds > RESIGN_SECONDS:
                    self._resign()
                    raise NobodyLeadsError(f"{self._required.record.name} does not work; this process resigns")
                if last_report > begin:
                    self.task.record.succeeded(seconds_ago=silent_seconds)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            LEADS.set(0)
            for task in self._tasks:
                await task.stop()
        log.info("another process leads")

    def _resign(self) -> None:
        # The end of the session releases the lock.
        self._connection.close()
        self._resigned_until = monotonic() + RESIGNED_SECONDS

    async def _has_lock(self) -> bool:
        """Acquire the lock, or confirm it: a session that has the lock gets it again, a new session competes for it."""
        rows = await self._connection.transact(lambda it: it.round_trip(f"SELECT pg_try_advisory_lock({LOCK})"))
        return bool(rows[0][0])

    async def _another_leads(self) -> bool:
        """Return whether another session has the lock; end one that no longer polls: its process hangs or is stopped."""
        rows = await self._connection.transact(lambda it: it.round_trip(_LEADER))
        if any(silent_seconds is not None and silent_seconds > LEADER_SECONDS for _, silent_seconds in rows):
            await self._connection.transact(lambda it: it.round_trip(_END_LEADER, [LEADER_SECONDS]))
            raise NobodyLeadsError(f"the leader hangs; its session {rows[0][0]} was ended")
        return bool(rows)
