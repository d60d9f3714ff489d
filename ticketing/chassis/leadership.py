"""Duties that one process does for all that share the database: the one that holds an advisory lock of PostgreSQL's.

The lock spares work and is no guard: what the duties do is right also where two processes do it for a moment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

log = logging.getLogger(__name__)

# Any number, the same in all processes; PostgreSQL scopes it to one database.
LOCK: Final = 7_205_759_403_792_795
LOOK_SECONDS: Final = 1.0
FIRST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 5.0

Duty = Callable[[], Awaitable[None]]


class LostLead(Exception):  # noqa: N818 - nothing is wrong: another process goes on
    """Another process has the lock."""


async def lead(connection: LoopConnection, duties: Sequence[Duty]) -> NoReturn:
    """Do `duties` whenever this process has the lock, for ever.

    Args:
        connection: of its own: the lock lives as long as its session.
        duties: each goes on until it is cancelled.
    """
    while True:
        try:
            if await _has_lock(connection):
                await _work(connection, duties)
        except* (LostLead, Failure) as ended:
            log.info("another process leads, or the database did not answer", extra={"causes": ended.exceptions})
        except* Exception:
            log.exception("a duty failed; it begins again")
        await asyncio.sleep(LOOK_SECONDS)


async def _work(connection: LoopConnection, duties: Sequence[Duty]) -> None:
    log.info("this process leads")
    async with asyncio.TaskGroup() as group:
        for duty in duties:
            group.create_task(_run(duty))
        while await _has_lock(connection):  # noqa: ASYNC110 - PostgreSQL tells nobody that a session is gone
            await asyncio.sleep(LOOK_SECONDS)
        raise LostLead


async def _run(duty: Duty) -> None:
    await duty()


async def _has_lock(connection: LoopConnection) -> bool:
    """Take the lock, or see that we still have it: a session that has it gets it again, a new one has to ask."""
    rows = await connection.transact(lambda session: session.round_trip(f"SELECT pg_try_advisory_lock({LOCK})"))
    held: bool = rows[0][0]
    return held


async def keep_on(name: str, duty: Duty) -> NoReturn:
    """Repeat `duty` for ever; where the other service or the database did not answer, after a growing wait."""
    failures = 0
    while True:
        try:
            await duty()
            failures = 0
        except Failure as failure:
            # Once, and not at every try of a long outage.
            level = logging.DEBUG if failures else logging.WARNING
            log.log(level, "a duty waits", extra={"duty": name, "cause": failure.message})
            failures += 1
        await asyncio.sleep(backoff_seconds(failures, first=FIRST_SECONDS, longest=LONGEST_SECONDS))
