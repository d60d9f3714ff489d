"""The transaction of a batch of scans: lock its tickets, identify them, and run the work on them.

Live scans and uploads both use this module, so they lock rows in the same order and cannot deadlock.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from scan_service.domain.refusals import rows_locked
from scan_service.store import admission as store
from scan_service.store import free_rows
from scan_service.store.clock import DatabaseClock
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.locked_events import LockedEvents
from scan_service.use_cases.ticket_lookup import TicketLookup
from ticketing.admission.codes import Codes
from ticketing.admission.groups import is_same_group
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scans import Attempt, Scan, restore_code
from ticketing.admission.tokens import Token
from ticketing.chassis.database import RowsLocked
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection

# All scans of a process wait meanwhile: a hundred tickets that another session inserts must not cost a wait each.
MAX_WAITS: Final = 5


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

    A batch waits for locked rows up to the lock_timeout of `connection`. If that was too short, it runs again without a
    wait: the attempts whose rows another session has locked are OVERLOADED, and all others are answered. Later attempts
    at such an event have a transaction of their own that waits for no lock, until its rows are free.

    Work that changes recorded scans needs `lock_first`: the scans are then read after all tickets are locked.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, and keywords
        self,
        connection: LoopConnection,
        keys: Keys,
        codes: Codes,
        clock: DatabaseClock,
        locked_events: LockedEvents,
        *,
        lock_first: bool = False,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._codes = codes
        self._clock = clock
        self._locked_events = locked_events
        self._lock_first = lock_first

    async def transact(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        """Lock the events and tickets of `attempts`, insert tickets that only their tokens prove, and run `work`."""
        await self._keys.load_missing(
            {attempt.credential.key_id for attempt in attempts if isinstance(attempt.credential, Token)}
        )
        free, locked = self._locked_events.split(attempts)
        if not locked:
            return await self._decide(attempts, work)
        answers = dict[int, Scan | Failure]()
        if free:
            answers |= zip(free, await self._decide([attempts[index] for index in free], work), strict=True)
        try:
            answers |= zip(locked, await self._decide_free([attempts[index] for index in locked], work), strict=True)
        except Failure as failure:
            # The answers of the others are committed.
            answers |= dict.fromkeys(locked, failure)
        return [answers[index] for index in range(len(attempts))]

    async def _decide(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        request = _request_of(attempts)

        async def run(connection: LoopConnection) -> Answers:
            locked = await self._lock(connection, request)
            if unknown := locked.ticket_lookup.find_unknown(attempts):
                await connection.round_trip(*store.create_tickets(unknown))
                # The insert ended the transaction and released its locks.
                locked = await self._lock(connection, request)
            return await work(connection, attempts, locked)

        try:
            return await self._connection.transact(run)
        except RowsLocked:
            return await self._decide_free(attempts, work)

    async def _decide_free(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        """Decide `attempts` without a wait for locked rows."""
        events = {attempt.gate.event_id for attempt in attempts}
        try:
            refused, answers = await self._connection.transact(
                lambda connection: self._transact_free(connection, attempts, work)
            )
        except RowsLocked as failure:
            if len(attempts) > 1:
                # An insert of one attempt waited for another session.
                return await self._decide_one_by_one(attempts, work)
            refused, answers = events, [failure]
        self._locked_events.note(events, refused)
        return answers

    async def _decide_one_by_one(self, attempts: Sequence[Attempt], work: Work) -> Answers:
        """Decide each attempt in a transaction of its own; after MAX_WAITS inserts that waited, their events are refused."""
        answers = list[Scan | Failure]()
        waited = list[UUID]()
        for attempt in attempts:
            event_id = attempt.gate.event_id
            if len(waited) >= MAX_WAITS and event_id in waited:
                answers.append(rows_locked())
                continue
            [answer] = await self._decide_free([attempt], work)
            answers.append(answer)
            if isinstance(answer, RowsLocked):
                waited.append(event_id)
        return answers

    async def _transact_free(
        self, connection: LoopConnection, attempts: Sequence[Attempt], work: Work
    ) -> tuple[set[UUID], Answers]:
        """Return the events with refused attempts, and the answers."""
        request = _request_of(attempts)
        free_events = await free_rows.lock_free_events(connection, request)
        if not free_events and self._locked_events.covers({attempt.gate.event_id for attempt in attempts}):
            await connection.round_trip("ROLLBACK")
            return {attempt.gate.event_id for attempt in attempts}, [rows_locked()] * len(attempts)
        free = await free_rows.lock_free_tickets(connection, request, free_events)
        lookup = self._batch_of(free.rows).ticket_lookup
        if unknown := lookup.find_unknown(
            [attempt for attempt in attempts if attempt.gate.event_id not in free.locked_events]
        ):
            await connection.round_trip(*store.create_tickets(unknown, free_rows.WRITE_MILLISECONDS))
            free_events = await free_rows.lock_free_events(connection, request)
            free = await free_rows.lock_free_tickets(connection, request, free_events)
        refused = {index for index, attempt in enumerate(attempts) if _is_locked(attempt, free)}
        accepted = [attempt for index, attempt in enumerate(attempts) if index not in refused]
        if accepted:
            decided = iter(await work(connection, accepted, self._batch_of(free.rows)))
        else:
            await connection.round_trip("ROLLBACK")
            decided = iter(())
        answers = [rows_locked() if index in refused else next(decided) for index in range(len(attempts))]
        return {attempts[index].gate.event_id for index in refused}, answers

    async def _lock(self, connection: LoopConnection, request: store.LockRequest) -> LockedBatch:
        round_trip = request.round_trip(lock_first=self._lock_first)
        return self._batch_of(store.read_locked_rows(await connection.round_trip(*round_trip)))

    def _batch_of(self, rows: store.LockedRows) -> LockedBatch:
        for scan_id, scan in rows.scans.items():
            rows.scans[scan_id] = restore_code(scan, self._codes)
        now = self._clock.shift(rows.lock_time)
        return LockedBatch(rows, TicketLookup(rows, self._keys.cached, self._codes, now), now)


def _request_of(attempts: Sequence[Attempt]) -> store.LockRequest:
    named = [attempt.credential for attempt in attempts if isinstance(attempt.credential, (Token, LookUpPass))]
    request = store.LockRequest(
        events={attempt.gate.event_id for attempt in attempts},
        tickets=[(credential.event_id, credential.ticket_id) for credential in named],
        code_digests={attempt.credential for attempt in attempts if isinstance(attempt.credential, bytes)},
        scans={attempt.scan_id for attempt in attempts},
    )
    groups = [one for one in attempts if one.group_count and isinstance(one.credential, Token | LookUpPass | bytes)]
    return _with_groups(request, groups) if groups else request


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


def _is_locked(attempt: Attempt, free: free_rows.FreeRows) -> bool:
    """Return whether another session has locked the event, the ticket, or a ticket of the group of an attempt."""
    if attempt.gate.event_id in free.locked_events:
        return True
    if not free.locked_tickets:
        return False
    credential, key = attempt.credential, None
    if isinstance(credential, Token | LookUpPass):
        key = (credential.event_id, credential.ticket_id)
    elif isinstance(credential, bytes):
        key = free.rows.keys_by_code.get(credential)
    if key in free.locked_tickets:
        return True
    if not attempt.group_count:
        return False
    named = () if attempt.offline is None else attempt.offline.group_ticket_ids
    if any((attempt.gate.event_id, ticket_id) in free.locked_tickets for ticket_id in named):
        return True
    scanned = None if key is None else free.rows.tickets.get(key)
    return scanned is not None and any(is_same_group(ticket, scanned) for ticket in free.locked_tickets.values())
