"""Refuse changes while the database is recovered after a restore.

A restored database lacks sales, refunds and revocations. Whatever is decided on it could sell a place or make a refund
twice, so nothing changes before `python -m ticket_service recover` has ended; reads go on. A process that has not read
the state for VALID_SECONDS refuses changes too: so the command knows after this time that no process sells.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from prometheus_client import Gauge

from ticket_service.domain.recovery import Cause
from ticket_service.domain.refusals import recovering
from ticket_service.store import recoveries as store
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable
from ticketing.chassis.ids import new_id
from ticketing.chassis.tasks import Sweepable

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
VALID_SECONDS: Final = 6.0

RECOVERING: Final = Gauge(
    "ticketing_recovering", "1 while the tickets database is recovered after a restore and refuses changes, else 0."
)


class RecoveryGuard:
    """The state of the recovery as this process read it last; `database` has a connection of its own for it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._is_recovering = False
        self._read_time = float("-inf")
        # Called when a recovery begins.
        self.on_begin: Callable[[], None] = lambda: None

    async def sweep(self) -> bool:
        """Read the state."""
        # The state is as old as the beginning of the read.
        begin = monotonic()
        self._note(begin, is_recovering=await self._database.run(store.find_open) is not None)
        return False

    async def report_lost_commits(self) -> None:
        """Begin a recovery: the database lacks changes that it had acknowledged."""
        begin = monotonic()
        await self._database.run(lambda c: store.begin(c, new_id(), Cause.LOST_COMMITS, None, self._clock()))
        log.error("the database lacks acknowledged changes; changes are refused until `recover` has ended")
        self._note(begin, is_recovering=True)

    def refusal(self) -> Failure | None:
        """Return the failure with which changes are refused; None: they are allowed."""
        if self._is_recovering:
            return recovering()
        if monotonic() - self._read_time > VALID_SECONDS:
            return dependency_unavailable("database")
        return None

    def check(self) -> None:
        """Raise RECOVERING, or DEPENDENCY_UNAVAILABLE where the state is not known."""
        if (failure := self.refusal()) is not None:
            raise failure

    def check_recovering(self) -> None:
        """Raise RECOVERING; a state that is not known stops no reader."""
        if self._is_recovering:
            raise recovering()

    def pausing(self, work: Sweepable) -> Sweepable:
        """Return `work`, which does nothing while changes are refused."""
        return _Pausing(self, work)

    def _note(self, read_time: float, *, is_recovering: bool) -> None:
        began = is_recovering and not self._is_recovering
        if is_recovering != self._is_recovering:
            log.warning("changes are refused" if began else "changes are allowed again", extra={"recovering": began})
        self._is_recovering, self._read_time = is_recovering, read_time
        RECOVERING.set(is_recovering)
        if began:
            self.on_begin()


class _Pausing:
    def __init__(self, guard: RecoveryGuard, work: Sweepable) -> None:
        self._guard = guard
        self._work = work

    async def sweep(self) -> bool:
        """Sweep unless changes are refused."""
        return self._guard.refusal() is None and await self._work.sweep()
