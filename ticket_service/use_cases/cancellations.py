"""Cancel tickets: (1) record the cancellation, (2) revoke the ticket at the scan service, (3) settle the cancellation.

Step 1 also records the amount of the refund. A repeated request or, after a crash, the sweeper repeats every step:
step 1 returns the recorded cancellation, the scan service decides each revocation_id of step 2 once, and step 3 records
the answer only for a PENDING cancellation.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.providers import RULES
from ticket_service.domain import cancellations as domain
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.changes import ChangeKind, person_search, ticket_change
from ticket_service.domain.events import EventStatus
from ticket_service.domain.notifications import cancellation_settled
from ticket_service.domain.queries import CancellationQuery
from ticket_service.domain.refund_policy import FULL_PERCENT
from ticket_service.domain.refusals import (
    cancellation_not_found,
    scan_service_unavailable,
    ticket_checked_in,
    ticket_not_found,
)
from ticket_service.domain.revocations import Outcome, Revocation
from ticket_service.store import cancellations as store
from ticket_service.store import changes, outbox, refund_orders
from ticket_service.store.access import event_administered_by, ticket_visible_to
from ticket_service.store.event_cancellation import refund_pending_in_full
from ticket_service.store.events import lock_event
from ticket_service.store.reissues import find_pending_reissue
from ticket_service.store.tickets import lock_ticket
from ticket_service.use_cases.changes import record_search
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# Cancellations in one sweep; the row of an event is locked while its cancellations are settled.
MAX_SWEEP: Final = 100
# The time exceeds a call to the scan service and a commit, so that no two processes try at once.
MIN_RETRY_SECONDS: Final = 3.0
MAX_RETRY_SECONDS: Final = 30.0


class TicketRevoker(Protocol):
    """A client that revokes tickets at the scan service."""

    async def revoke(self, event_id: UUID, revocations: Sequence[Revocation]) -> Sequence[Outcome | None]:
        """Revoke tickets of one event; return their outcomes in order; None: a locked ticket, which is undecided.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE; it is unknown whether the tickets are revoked.
        """


class Cancellations:
    """The use cases of cancelling tickets; `on_change` is called after each commit that changes the feed."""

    def __init__(self, database: Database, revoker: TicketRevoker, clock: Clock, on_change: Callable[[], None]) -> None:
        self._database = database
        self._revoker = revoker
        self._clock = clock
        self.on_change = on_change

    async def cancel(
        self, caller: Caller, ticket_id: UUID, reason: str, refund_amount: tuple[str, int] | None = None
    ) -> Cancellation:
        """Cancel a ticket that `caller` may see; a repeated request continues the same cancellation.

        `refund_amount` are the currency and the amount that an organizer or a service refunds; None: what the terms
        grant.

        Returns:
            The cancellation: PENDING if the scan service did not answer; the sweeper then continues it.

        Raises:
            Failure: TICKET_NOT_FOUND, TICKET_NOT_CANCELLABLE, TICKET_CHECKED_IN or REFUND_OUT_OF_RANGE;
                DEPENDENCY_UNAVAILABLE while a reissue of the ticket waits for the scan service.
        """
        cancellation = await self._database.run(lambda c: self._request(c, caller, (ticket_id, reason, refund_amount)))
        if cancellation.status is not CancellationStatus.PENDING:
            return cancellation
        try:
            await self.advance(cancellation.event_id, [cancellation])
        except Failure as failure:
            # The cancellation is recorded, so the caller gets an answer and no error.
            log.warning("a cancellation is left to the sweeper", extra=_log_fields(cancellation, failure))
            return cancellation
        cancellation = await self.get(caller, cancellation.cancellation_id)
        if cancellation.status is CancellationStatus.REJECTED:
            raise ticket_checked_in(ticket_id, cancellation.check_in_time)
        return cancellation

    async def get(self, caller: Caller, cancellation_id: UUID) -> Cancellation:
        """Read one cancellation of a ticket that `caller` may see; raise CANCELLATION_NOT_FOUND if there is none."""
        visible = ticket_visible_to(caller)
        found = await self._database.run(lambda c: store.find_cancellation(c, cancellation_id, visible))
        if found is None:
            raise cancellation_not_found(cancellation_id)
        return found

    async def list(
        self, caller: Caller, query: CancellationQuery, before: UUID | None, limit: int
    ) -> Sequence[Cancellation]:
        """Read up to `limit` cancellations of tickets that `caller` may see, newest first."""
        found = await self._database.read(lambda c: store.list_cancellations(c, caller, query, before, limit))
        search = person_search("ListCancellations", query.event_id, {"user_id": query.user_id}, len(found))
        await record_search(self._database, caller, search, self._clock)
        return found

    async def sweep(self) -> bool:
        """Continue due cancellations; return whether more may be due."""
        due = await self._database.run(self._claim_due)
        by_event: dict[UUID, list[Cancellation]] = defaultdict(list)
        for cancellation in due:
            by_event[cancellation.event_id].append(cancellation)
        # In parallel, so that an event that fails delays no other event.
        await asyncio.gather(*(self._try_advance(event_id, pending) for event_id, pending in by_event.items()))
        return len(due) == MAX_SWEEP

    async def advance(self, event_id: UUID, pending: Sequence[Cancellation]) -> None:
        """Do steps 2 and 3 for at most 1,000 PENDING cancellations of one event, or raise DEPENDENCY_UNAVAILABLE.

        Cancellations of tickets that are locked at the scan service stay PENDING; the sweeper continues them.
        """
        answers = await self._revoker.revoke(event_id, [cancellation.revocation for cancellation in pending])
        outcomes = {
            cancellation.cancellation_id: outcome
            for cancellation, outcome in zip(pending, answers, strict=True)
            if outcome is not None
        }
        if not outcomes:
            raise scan_service_unavailable()
        now = self._clock()
        await self._database.run(lambda connection: settle(connection, event_id, outcomes, now))
        self.on_change()

    def _request(
        self, connection: Connection, caller: Caller, request: tuple[UUID, str, tuple[str, int] | None]
    ) -> Cancellation:
        """Record the cancellation of a ticket, or return the recorded one."""
        ticket_id, reason, wanted = request
        # A holder, also one who organizes other events, gets what the terms grant.
        condition = ticket_visible_to(caller) if wanted is None else event_administered_by(caller)
        sold = lock_ticket(connection, ticket_id, condition)
        if sold is None:
            raise ticket_not_found(ticket_id)
        if sold.cancellation_id is not None:
            found = store.find_cancellation(connection, sold.cancellation_id)
            if found is None:
                raise cancellation_not_found(sold.cancellation_id)
            if wanted is not None:
                domain.check_repetition(found, sold, wanted)
            return found
        if find_pending_reissue(connection, sold.ticket.event_id, ticket_id) is not None:
            # A pending reissue may change the holder and the issue of the ticket.
            raise scan_service_unavailable()
        cancellation = domain.request(sold, new_id(), reason, self._clock(), wanted)
        store.insert_cancellations(connection, [cancellation])
        facts = {
            "cancellation_id": str(cancellation.cancellation_id),
            "currency_code": cancellation.currency,
            "minor_units": cancellation.refund_amount,
        }
        change = ticket_change(ChangeKind.CANCELLATION_REQUESTED, sold.ticket, **facts)
        changes.record(connection, caller, change, cancellation.create_time)
        return cancellation

    def _claim_due(self, connection: Connection) -> Sequence[Cancellation]:
        """Claim due cancellations, so that no other process tries them at the same time."""
        now = self._clock()
        due = store.lock_due(connection, now, MAX_SWEEP)
        store.update_cancellations(connection, [_claimed(cancellation, now) for cancellation in due])
        return due

    async def _try_advance(self, event_id: UUID, pending: Sequence[Cancellation]) -> None:
        try:
            await self.advance(event_id, pending)
        except Failure as failure:
            log.warning("cancellations are tried again later", extra=_log_fields(pending[0], failure))


def settle(
    connection: Connection, event_id: UUID, outcomes: Mapping[UUID, Outcome], now: datetime, *, notifies: bool = True
) -> None:
    """Record the scan service's outcomes of cancellations of one event, if they are still PENDING."""
    event = lock_event(connection, event_id)
    pending = store.lock_pending(connection, event_id, list(outcomes))
    if event is None or not pending:
        return
    if event.status is EventStatus.CANCELLED and any(
        cancellation.refund_percent < FULL_PERCENT for cancellation in pending
    ):
        # The event was cancelled after the holder's request, and the batches of the event cancellation have not reached
        # the ticket yet: the refund becomes the full price.
        refund_pending_in_full(connection, event_id, [cancellation.ticket_id for cancellation in pending])
        pending = store.lock_pending(connection, event_id, list(outcomes))
    settled = [domain.settle(cancellation, outcomes[cancellation.cancellation_id], now) for cancellation in pending]
    settled = round_refunds(connection, settled)
    store.update_cancellations(connection, settled)
    if event.status is EventStatus.CANCELLED:
        annulled = [one for one in settled if one.status is CancellationStatus.REJECTED and one.check_in_annulled]
        store.insert_cancellations(connection, [domain.request_again(one, new_id(), now) for one in annulled])
    due = [
        cancellation.cancellation_id for cancellation in settled if cancellation.status is CancellationStatus.REFUNDING
    ]
    ordered = refund_orders.order_refunds(connection, event_id, due, now) if due else set[UUID]()
    notifications = (
        cancellation_settled(cancellation, is_ordered=cancellation.cancellation_id in ordered)
        for cancellation in settled
    )
    if notifies:
        outbox.write(connection, list(chain.from_iterable(notifications)), now)
    revoked = [cancellation for cancellation in pending if outcomes[cancellation.cancellation_id].revoked]
    if revoked:
        store.release_tickets(connection, event_id, revoked, event.revision, now)


def round_refunds(connection: Connection, settled: Sequence[Cancellation]) -> list[Cancellation]:
    """Round the refunds of REFUNDING cancellations of one event to amounts that their payment providers refund."""
    due = [
        cancellation
        for cancellation in settled
        if cancellation.status is CancellationStatus.REFUNDING
        and any(rules.step(cancellation.currency) > 1 for rules in RULES.values())
    ]
    ids = [cancellation.cancellation_id for cancellation in due]
    payers = refund_orders.find_payers(connection, due[0].event_id, ids) if due else {}

    def rounded(cancellation: Cancellation) -> Cancellation:
        provider, refundable = payers.get(cancellation.cancellation_id, ("", 0))
        return domain.round_refund(cancellation, refundable, RULES[provider]) if provider in RULES else cancellation

    return [rounded(cancellation) for cancellation in settled]


def retry_seconds(attempts: int) -> float:
    """Return the wait before the next call to the scan service, after `attempts` calls."""
    jitter = backoff_seconds(attempts, first=1, max_seconds=MAX_RETRY_SECONDS - MIN_RETRY_SECONDS)
    return MIN_RETRY_SECONDS + jitter


def _claimed(cancellation: Cancellation, now: datetime) -> Cancellation:
    wait = timedelta(seconds=retry_seconds(cancellation.attempts))
    return replace(cancellation, attempts=cancellation.attempts + 1, due_time=now + wait)


def _log_fields(cancellation: Cancellation, failure: Failure) -> dict[str, object]:
    return {
        "event_id": cancellation.event_id,
        "cancellation_id": cancellation.cancellation_id,
        "reason": failure.reason,
        "attempts": cancellation.attempts,
    }
