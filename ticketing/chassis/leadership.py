"""Leader election by an advisory lock of PostgreSQL: one process does some tasks for all that share the database.

The lock only saves work: the tasks are also correct while two processes run them for a moment.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

log = logging.getLogger(__name__)

# Any number that is the same in all processes; PostgreSQL scopes it to one database.
LOCK: Final = 7_205_759_403_792_795
POLL_SECONDS: Final = 1.0
FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 5.0

LeaderTask = Callable[[], Coroutine[Any, Any, None]]


class LeadershipLost(Exception):  # noqa: N818 - no error: another process continues the tasks
    """Raised in the leader when another process has the lock."""


async def run_as_leader(connection: LoopConnection, tasks: Sequence[LeaderTask]) -> NoReturn:
    """Run `tasks` whenever this process is the leader, forever.

    Each task runs until it is cancelled. The caller uses `connection` for nothing else: PostgreSQL releases the lock when
    its session ends.
    """
    while True:
        try:
            if await _has_lock(connection):
                await _run_while_leader(connection, tasks)
        except* (LeadershipLost, Failure) as ended:
            log.info("another process leads, or the database did not answer", extra={"causes": ended.exceptions})
        except* Exception:
            log.exception("a task of the leader failed and starts again")
        await asyncio.sleep(POLL_SECONDS)


async def _run_while_leader(connection: LoopConnection, tasks: Sequence[LeaderTask]) -> None:
    log.info("this process leads")
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task())
        while await _has_lock(connection):  # noqa: ASYNC110 - PostgreSQL does not report that a session has ended
            await asyncio.sleep(POLL_SECONDS)
        raise LeadershipLost


async def _has_lock(connection: LoopConnection) -> bool:
    """Acquire the lock, or confirm it: a session that has the lock gets it again, a new session competes for it."""
    rows = await connection.transact(lambda session: session.round_trip(f"SELECT pg_try_advisory_lock({LOCK})"))
    return bool(rows[0][0])


async def repeat_with_backoff(name: str, task: LeaderTask) -> NoReturn:
    """Repeat `task` forever; after a Failure of the other service or the database, wait longer each time."""
    failures = 0
    while True:
        try:
            await task()
            failures = 0
        except Failure as failure:
            # The log has one warning at the start of an outage, not one for every retry.
            level = logging.DEBUG if failures else logging.WARNING
            log.log(level, "a task waits for its dependency", extra={"task": name, "cause": failure.message})
            failures += 1
        await asyncio.sleep(backoff_seconds(failures, first=FIRST_BACKOFF_SECONDS, max_seconds=MAX_BACKOFF_SECONDS))
