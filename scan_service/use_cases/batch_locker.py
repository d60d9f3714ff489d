"""The transaction of a batch of scans: lock its tickets, identify them, and run the work on them.

Live scans and uploads both use this module, so they lock rows in the same order and cannot deadlock.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from scan_service.store import admission as store
from scan_service.store.clock import DatabaseClock
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.ticket_lookup import TicketLookup
from ticketing.admission.codes import Codes
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scans import Attempt, Scan, restore_code
from ticketing.admission.tokens import Token
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """The rows that a batch has locked, and the database's time at which it locked them."""

    rows: store.LockedRows
    ticket_lookup: TicketLookup
    now: datetime


Answers: TypeAlias = Sequence[Scan | Failure]
# A function that answers attempts from the locked rows, and commits.
Work: TypeAlias = Callable[[LoopConnection, Sequence[Attempt], LockedBatch], Awaitable[Answers]]


class BatchLocker:
    """A runner of transactions in which the rows of a batch are locked.

    Work that changes recorded scans needs `lock_first`: the scans are then read after all tickets are locked.
    """

    def __init__(
        self, connection: LoopConnection, keys: Keys, codes: Codes, clock: DatabaseClock, *, lock_first: bool = False
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._codes = codes
        self._clock = clock
        self._lock_first = lock_first

    async def transact(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        """Lock the events and tickets of `attempts`, insert tickets that only their tokens prove, and run `work`."""
        named = [attempt.credential for attempt in attempts if isinstance(attempt.credential, Token | LookUpPass)]
        await self._keys.load_missing(token.key_id for token in named if isinstance(token, Token))
        request = store.LockRequest(
            events={attempt.gate.event_id for attempt in attempts},
            tickets=[(credential.event_id, credential.ticket_id) for credential in named],
            code_digests={attempt.credential for attempt in attempts if isinstance(attempt.credential, bytes)},
            scans={attempt.scan_id for attempt in attempts},
        )
        if groups := [
            one for one in attempts if one.group_count and isinstance(one.credential, Token | LookUpPass | bytes)
        ]:
            request = _with_groups(request, groups)

        async def run(connection: LoopConnection) -> Answers:
            locked = await self._lock(connection, request)
            if unknown := locked.ticket_lookup.find_unknown(attempts):
                await connection.round_trip(*store.create_tickets(unknown))
                # The insert ended the transaction and released its locks.
                locked = await self._lock(connection, request)
            return await work(connection, attempts, locked)

        return await self._connection.transact(run)

    async def _lock(self, connection: LoopConnection, request: store.LockRequest) -> LockedBatch:
        round_trip = request.round_trip(lock_first=self._lock_first)
        rows = store.read_locked_rows(await connection.round_trip(*round_trip))
        for scan_id, scan in rows.scans.items():
            rows.scans[scan_id] = restore_code(scan, self._codes)
        now = self._clock.shift(rows.lock_time)
        return LockedBatch(rows, TicketLookup(rows, self._keys.cached, self._codes, now), now)


def _with_groups(request: store.LockRequest, attempts: Sequence[Attempt]) -> store.LockRequest:
    """Lock the whole groups of the scanned tickets as well, and read the scans of their further tickets."""
    named = [
        (attempt.gate.event_id, ticket_id)
        for attempt in attempts
        if attempt.offline is not None
        for ticket_id in attempt.offline.group_ticket_ids
    ]
    credentials = [attempt.credential for attempt in attempts]
    scans = {further.scan_id for attempt in attempts for further in attempt.further()}
    scanned = [credential for credential in credentials if isinstance(credential, Token | LookUpPass)]
    return replace(
        request,
        tickets=[*request.tickets, *named],
        scans={*request.scans, *scans},
        groups=[(credential.event_id, credential.ticket_id) for credential in scanned],
        group_digests={credential for credential in credentials if isinstance(credential, bytes)},
    )
