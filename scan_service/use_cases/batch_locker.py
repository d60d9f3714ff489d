"""What a batch of scans works on: its tickets, locked and recognised, in one transaction.

Live scans and uploads hold alike, so that they meet in one order of locks.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from scan_service.store import admission as store
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.ticket_lookup import TicketLookup
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Scan, revealed
from ticketing.admission.tokens import Token
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """What a batch holds, and the time since when it does."""

    held: store.LockedRows
    ticket_lookup: TicketLookup
    now: datetime


Answers: TypeAlias = Sequence[Scan | Failure]
# Answers attempts over what is held, and commits.
Work: TypeAlias = Callable[[LoopConnection, Sequence[Attempt], LockedBatch], Awaitable[Answers]]


class BatchLocker:
    """Holds what batches of attempts are about.

    Args:
        connection: with the statements of the work prepared.
        keys: verify tokens.
        codes: look up typed codes.
        clock: the present time, read while the tickets are locked.
        lock_first: whether what was recorded is read once all tickets are locked, for work that changes it.
    """

    def __init__(
        self, connection: LoopConnection, keys: Keys, codes: Codes, clock: Clock, *, lock_first: bool = False
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._codes = codes
        self._clock = clock
        self._lock_first = lock_first

    async def transact(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        """Hold what `attempts` are about, with rows for tickets that only their tokens prove, and do `work` on it.

        Raises:
            Failure: as LoopConnection.transact does.
        """
        tokens = [attempt.credential for attempt in attempts if isinstance(attempt.credential, Token)]
        await self._keys.look_for(token.key_id for token in tokens)
        wanted = store.Wanted(
            events={attempt.gate.event_id for attempt in attempts},
            tickets=[(token.event_id, token.ticket_id) for token in tokens],
            code_digests={attempt.credential for attempt in attempts if isinstance(attempt.credential, bytes)},
            scans={attempt.scan_id for attempt in attempts},
        )

        async def run(connection: LoopConnection) -> Answers:
            holding = await self._hold(connection, wanted)
            if unknown := holding.ticket_lookup.unknown(attempts):
                await connection.round_trip(*store.create(unknown))
                holding = await self._hold(connection, wanted)
            return await work(connection, attempts, holding)

        return await self._connection.transact(run)

    async def _hold(self, connection: LoopConnection, wanted: store.Wanted) -> LockedBatch:
        held = store.held(await connection.round_trip(*wanted.hold(lock_first=self._lock_first)))
        for scan_id, scan in held.scans.items():
            held.scans[scan_id] = revealed(scan, self._codes)
        now = self._clock()
        return LockedBatch(held, TicketLookup(held, self._keys, self._codes, now), now)
