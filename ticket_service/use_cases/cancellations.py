"""Giving tickets back: (1) record what is granted, (2) have the scan service take the admission right, (3) settle.

Every step may be done again, by the caller who asks again or by the sweeper after a crash: the first finds what is
there, the second is settled once by its revocation_id, the third touches only what is still PENDING.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import cancellations as domain
from ticket_service.domain import notifications
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.events import EventStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refund_policy import FULL_PERCENT
from ticket_service.domain.refusals import illegal_transition, no_answer_of_scans
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.store import cancellations as store
from ticket_service.store import ledger, outbox, refund_orders
from ticket_service.store import tickets as ticket_store
from ticket_service.store.event_cancellation import refund_pending_in_full
from ticket_service.store.events import lock_event
from ticket_service.store.reissues import find_pending as find_pending_reissue
from ticket_service.store.tables import cancellations as table
from ticket_service.use_cases.tickets import ticket_not_found
from ticketing.chassis.authentication import Caller
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# In one sweep; the event's row is locked while those of one event are settled.
MAX_SWEEP: Final = 100
# Longer than a call to the scan service and a commit take, so that no two processes try at once.
SHORTEST_RETRY_SECONDS: Final = 3.0
LONGEST_RETRY_SECONDS: Final = 30.0


class Scans(Protocol):
    """What the scan service does for us."""

    async def revoke(self, event_id: UUID, revocations: Sequence[Revocation]) -> Sequence[Outcome]:
        """Take the admission rights back; one outcome for each, in order.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: it is not known whether they were.
        """


@dataclass(frozen=True, slots=True)
class CancellationQuery:
    """Which cancellations are listed."""

    status: CancellationStatus | None
    event_id: UUID | None
    # "": of the caller's tickets; for organizers and services of all they may see.
    user_id: str


class Cancellations:
    """The cancellations.

    Args:
        database: where they are.
        scans: takes admission rights back.
        clock: the present time.
        on_change: called after a commit that gates need to know of.
    """

    def __init__(self, database: Database, scans: Scans, clock: Clock, on_change: Callable[[], None]) -> None:
        self._database = database
        self._scans = scans
        self._clock = clock
        self._on_change = on_change

    async def cancel(self, caller: Caller, ticket_id: UUID, reason: str) -> Cancellation:
        """Give a ticket back that `caller` may see; asked again, go on with the same cancellation.

        Returns:
            How far it is: PENDING where the scan service could not be reached; the sweeper goes on then.

        Raises:
            Failure: TICKET_NOT_FOUND, TICKET_NOT_CANCELLABLE or TICKET_CHECKED_IN; DEPENDENCY_UNAVAILABLE while a
                reissue of the ticket waits for the scan service.
        """
        cancellation = await self._database.run(lambda c: self._request(c, caller, ticket_id, reason))
        if cancellation.status is not CancellationStatus.PENDING:
            return cancellation
        try:
            await self.go_on(cancellation.event_id, [cancellation])
        except Failure as failure:
            # What was asked for is recorded, so this is an answer and no error.
            log.warning("a cancellation is left to the sweeper", extra=_facts(cancellation, failure))
            return cancellation
        cancellation = await self.get(caller, cancellation.cancellation_id)
        if cancellation.status is CancellationStatus.REJECTED:
            raise domain.checked_in(ticket_id, cancellation.check_in_time)
        return cancellation

    async def get(self, caller: Caller, cancellation_id: UUID) -> Cancellation:
        """Read one cancellation of a ticket that `caller` may see."""
        conditions = [table.c.cancellation_id == cancellation_id, ticket_store.visible_to(caller)]
        found = await self._database.run(lambda connection: store.find_cancellations(connection, conditions))
        return _found(found[0] if found else None, cancellation_id)

    async def list(
        self, caller: Caller, query: CancellationQuery, before: UUID | None, limit: int
    ) -> Sequence[Cancellation]:
        """Read up to `limit` cancellations of tickets that `caller` may see, newest first."""
        conditions = [ticket_store.visible_to(caller), ticket_store.of_user(caller, query.user_id)]
        if query.status is not None:
            conditions.append(table.c.status == query.status)
        if query.event_id is not None:
            conditions.append(table.c.event_id == query.event_id)
        if before is not None:
            conditions.append(table.c.cancellation_id < before)
        return await self._database.run(lambda connection: store.find_cancellations(connection, conditions, limit))

    async def confirm_refund(self, caller: Caller, cancellation_id: UUID, refund_id: str) -> None:
        """Take note that a refund was made: by a service, or by the event's own organizer.

        Raises:
            Failure: CANCELLATION_NOT_FOUND or ILLEGAL_TRANSITION.
        """
        now = self._clock()
        conditions = [table.c.cancellation_id == cancellation_id, store.confirmable_by(caller)]

        def work(connection: Connection) -> None:
            cancellation = _found(store.lock_cancellation(connection, conditions), cancellation_id)
            if refund_orders.find(connection, cancellation.event_id, cancellation_id) is not None:
                # A provider of ours is never told by hand what it gave back.
                raise illegal_transition(cancellation.status, CancellationStatus.DONE)
            refunded = domain.refunded(cancellation, refund_id, now)
            if refunded is not cancellation:
                store.update_cancellations(connection, [refunded])
                ledger.enter_refund_of(connection, refunded.event_id, cancellation_id, now)
                outbox.write(connection, [notifications.refunded(refunded)], now)

        await self._database.run(work)

    async def sweep(self) -> bool:
        """Go on with what a crash or an outage left; tell whether there may be more to do at once."""
        due = await self._database.run(self._take)
        by_event: dict[UUID, list[Cancellation]] = defaultdict(list)
        for cancellation in due:
            by_event[cancellation.event_id].append(cancellation)
        # Side by side, so that an event that fails holds no other up.
        await asyncio.gather(*(self._try_on(event_id, pending) for event_id, pending in by_event.items()))
        return len(due) == MAX_SWEEP

    async def go_on(self, event_id: UUID, pending: Sequence[Cancellation]) -> None:
        """Do steps 2 and 3 for PENDING cancellations of one event, at most 1,000.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: they are left to the sweeper.
        """
        answers = await self._scans.revoke(event_id, [one.revocation for one in pending])
        outcomes = {one.cancellation_id: outcome for one, outcome in zip(pending, answers, strict=True)}
        now = self._clock()
        await self._database.run(lambda connection: settle(connection, event_id, outcomes, now))
        self._on_change()

    def _request(self, connection: Connection, caller: Caller, ticket_id: UUID, reason: str) -> Cancellation:
        sold = ticket_store.lock_ticket(connection, ticket_id, ticket_store.visible_to(caller))
        if sold is None:
            raise ticket_not_found(ticket_id)
        if sold.cancellation_id is not None:
            return store.find_cancellations(connection, [table.c.cancellation_id == sold.cancellation_id])[0]
        if find_pending_reissue(connection, sold.ticket.event_id, ticket_id) is not None:
            # Whose ticket it is to be is open until the scan service answers.
            raise no_answer_of_scans()
        cancellation = domain.requested(sold, new_id(), reason, self._clock())
        store.insert_cancellations(connection, [cancellation])
        return cancellation

    def _take(self, connection: Connection) -> Sequence[Cancellation]:
        """Claim what is due: nobody else's until this try must have failed."""
        now = self._clock()
        due = store.take_due(connection, now, MAX_SWEEP)
        store.update_cancellations(connection, [_tried(cancellation, now) for cancellation in due])
        return due

    async def _try_on(self, event_id: UUID, pending: Sequence[Cancellation]) -> None:
        try:
            await self.go_on(event_id, pending)
        except Failure as failure:
            log.warning("cancellations are tried again later", extra=_facts(pending[0], failure))


def settle(connection: Connection, event_id: UUID, outcomes: Mapping[UUID, Outcome], now: datetime) -> None:
    """Do step 3 for those of one event's cancellations that are still PENDING: at most once each."""
    event = lock_event(connection, event_id)
    pending = store.lock_pending(connection, event_id, list(outcomes))
    if event is None or not pending:
        return
    if event.status is EventStatus.CANCELLED and any(one.refund_percent < FULL_PERCENT for one in pending):
        # Asked for before the event was called off, and settled before their turn: they get what they would have then.
        refund_pending_in_full(connection, event_id, [one.ticket_id for one in pending])
        pending = store.lock_pending(connection, event_id, list(outcomes))
    settled = [domain.settled(one, outcomes[one.cancellation_id], now) for one in pending]
    store.update_cancellations(connection, settled)
    due = [one.cancellation_id for one in settled if one.status is CancellationStatus.REFUNDING]
    if due:
        refund_orders.order_refunds(connection, event_id, due, now)
    outbox.write(connection, [told for one in settled for told in notifications.cancelled(one)], now)
    revoked = [one for one in pending if outcomes[one.cancellation_id].revoked]
    if revoked:
        store.give_back(connection, event_id, revoked, event.revision, now)


def retry_seconds(attempts: int) -> float:
    """Return how long what needs the scan service is left alone after so many tries."""
    longest = LONGEST_RETRY_SECONDS - SHORTEST_RETRY_SECONDS
    return SHORTEST_RETRY_SECONDS + backoff_seconds(attempts, first=1, longest=longest)


def _tried(cancellation: Cancellation, now: datetime) -> Cancellation:
    wait = timedelta(seconds=retry_seconds(cancellation.attempts))
    return replace(cancellation, attempts=cancellation.attempts + 1, due_time=now + wait)


def _found(cancellation: Cancellation | None, cancellation_id: UUID) -> Cancellation:
    if cancellation is None:
        raise Failure(Reason.CANCELLATION_NOT_FOUND, "there is no such cancellation", cancellation_id=cancellation_id)
    return cancellation


def _facts(cancellation: Cancellation, failure: Failure) -> dict[str, object]:
    return {
        "event_id": cancellation.event_id,
        "cancellation_id": cancellation.cancellation_id,
        "reason": failure.reason,
        "attempts": cancellation.attempts,
    }
