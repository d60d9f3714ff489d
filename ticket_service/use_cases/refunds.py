"""Make refunds through a payment provider: the sweeper tries each order until the provider confirms or refuses it.

An order is stored in the transaction that makes the refund due. One process tries an order at a time. Before each try it
lists the refunds of the payment at the provider, so that a crash at any point causes no second refund.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.payment_provider import Providers
from ticket_service.domain import cancellations as cancellation_domain
from ticket_service.domain import refund_orders as domain
from ticket_service.domain.cancellations import Cancellation
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.findings_notified import payment_refund_failed
from ticket_service.domain.holds import Payment
from ticket_service.domain.ledger import EntryKind, refund_entry
from ticket_service.domain.notifications import refund_ended, ticket_refund_failed, ticket_refund_made
from ticket_service.domain.payments import RefundProgress
from ticket_service.domain.reconciliation import ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.domain.refusals import cancellation_not_found
from ticket_service.domain.ticket_refunds import TicketRefund
from ticket_service.domain.ticket_refunds import record_refund as record_ticket_refund
from ticket_service.store import changes, ledger, outbox, ticket_refunds
from ticket_service.store import refund_orders as store
from ticket_service.store.access import event_administered_by
from ticket_service.store.cancellations import in_event, lock_cancellation, update_cancellations
from ticket_service.store.events import lock_event
from ticket_service.store.holds import lock_purchases
from ticket_service.store.reconciler import enqueue
from ticket_service.use_cases.cancellations import round_refunds
from ticket_service.use_cases.holds import record_refund
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

# Orders of one provider in one sweep: few enough that, even if the provider hangs, the sweep ends before other processes may claim the
# same orders.
MAX_SWEEP: Final = 32
# The time exceeds a sweep, so that no two processes try at once.
MIN_RETRY_SECONDS: Final = 20.0
MAX_RETRY_SECONDS: Final = 900.0


class OrderComparison(Protocol):
    """A use case that applies the provider's records before an order is tried."""

    def compare_order(
        self, connection: Connection, order: RefundOrder, refunds: Sequence[ProviderRefund]
    ) -> RefundOrder | None:
        """Apply the refunds of the order's payment; return the order to try, None: it needs no further refund."""


class Refunds:
    """The use cases of refund orders."""

    def __init__(self, database: Database, providers: Providers, comparison: OrderComparison, clock: Clock) -> None:
        self._database = database
        self._providers = providers
        self._comparison = comparison
        self._clock = clock

    async def retry(self, caller: Caller, cancellation_id: UUID) -> Cancellation:
        """Retry a refused refund of an event that `caller` administers; a repetition changes nothing.

        Raises:
            Failure: CANCELLATION_NOT_FOUND, or ILLEGAL_TRANSITION if no refund is due.
        """
        now = self._clock()

        def work(connection: Connection) -> Cancellation:
            found = lock_cancellation(connection, cancellation_id, event_administered_by(caller))
            if found is None:
                raise cancellation_not_found(cancellation_id)
            retried = cancellation_domain.retry_refund(found)
            order = store.lock(connection, found.event_id, cancellation_id)
            if retried is found:
                if order is not None:
                    # The organizer may have seen a failure at the provider before the reconciler finds it.
                    enqueue(connection, order.provider, [order.payment_id], now)
                return found
            if order is not None:
                # The order may be older than the rounding of refunds.
                [retried] = round_refunds(connection, [retried])
                store.update(connection, domain.retry(order, retried.refund_amount, now))
            update_cancellations(connection, [retried])
            facts = {"cancellation_id": str(cancellation_id)}
            change = Change(ChangeKind.REFUND_RETRIED, found.event_id, None, found.ticket_id, facts)
            changes.record(connection, caller, change, now)
            return retried

        return await self._database.run(work)

    async def sweep(self, provider: str) -> bool:
        """Try due orders of one configured provider; return whether more may be due."""
        claimed = await self._database.run(lambda connection: self._claim_due(connection, provider))
        await asyncio.gather(*(self._try(order) for order in claimed))
        return len(claimed) == MAX_SWEEP

    async def sweep_unconfigured(self) -> bool:
        """Postpone due orders of providers that are not configured; log their number."""
        now = self._clock()
        until = now + timedelta(seconds=MAX_RETRY_SECONDS)
        waiting = await self._database.run(lambda c: store.postpone_others(c, list(self._providers), now, until))
        if waiting:
            log.error("refunds are due by a provider that is not configured", extra={"orders": waiting})
        return False

    def _claim_due(self, connection: Connection, provider: str) -> list[RefundOrder]:
        """Claim due orders, so that no other process tries them at the same time."""
        now = self._clock()
        return [self._claim(connection, order, now) for order in store.lock_due(connection, provider, now, MAX_SWEEP)]

    @staticmethod
    def _claim(connection: Connection, order: RefundOrder, now: datetime) -> RefundOrder:
        spread = backoff_seconds(order.attempts, first=1, max_seconds=MAX_RETRY_SECONDS - MIN_RETRY_SECONDS)
        claimed = domain.claim(order, now, timedelta(seconds=MIN_RETRY_SECONDS + spread))
        store.update(connection, claimed)
        ledger.enter(connection, refund_entry(claimed, EntryKind.REFUND_TRIED), now)
        return claimed

    async def _try(self, order: RefundOrder) -> None:
        try:
            provider = self._providers[order.provider]
            # Our own memory of earlier refunds may be lost: an answer, a restored database, the provider's dashboard.
            refunds = await provider.list_refunds(order.payment_id)
            due = await self._database.run(lambda c: self._comparison.compare_order(c, order, refunds))
            if due is None:
                return
            progress = await provider.refund(due)
            await self._database.run(lambda connection: record_answer(connection, due, progress, self._clock()))
        except Failure as failure:
            log.warning("a refund is tried again later", extra={**_log_fields(order), "reason": failure.reason})


def record_answer(connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime) -> None:
    """Store the provider's answer, if no process has stored it, with its effect on cancellation, payment or ticket."""
    if order.cancellation_id is not None:
        _record_for_cancellation(connection, order, order.cancellation_id, progress, now)
    elif (refund := ticket_refunds.lock(connection, order.order_id)) is not None:
        _record_for_ticket(connection, order, refund, progress, now)
    else:
        _record_for_payment(connection, order, progress, now)


def _record_for_ticket(
    connection: Connection, order: RefundOrder, refund: TicketRefund, progress: RefundProgress, now: datetime
) -> None:
    after = _store_progress(connection, order, progress, now)
    if after is None:
        return
    if after.status is RefundOrderStatus.DONE:
        made = record_ticket_refund(refund, progress.refund_id or "", now)
        ticket_refunds.update(connection, made)
        outbox.write(connection, ticket_refund_made(made), now)
    elif after.is_first_failure:
        outbox.write(connection, ticket_refund_failed(refund, after.failure or ""), now)


def _record_for_payment(connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime) -> None:
    lock_event(connection, order.event_id)
    [purchase] = lock_purchases(connection, order.event_id, [order.purchase_id])
    after = _store_progress(connection, order, progress, now)
    if after is None:
        return
    if after.status is RefundOrderStatus.DONE:
        payment = Payment(order.payment_id, (order.currency, order.amount), order.provider)
        record_refund(connection, purchase, payment, progress.refund_id or "", now)
    elif after.is_first_failure:
        outbox.write(connection, payment_refund_failed(purchase, after), now)


def _record_for_cancellation(
    connection: Connection, order: RefundOrder, cancellation_id: UUID, progress: RefundProgress, now: datetime
) -> None:
    cancellation = lock_cancellation(connection, cancellation_id, in_event(order.event_id))
    after = _store_progress(connection, order, progress, now)
    if cancellation is None or after is None:
        return
    if after.status is RefundOrderStatus.DONE:
        ended = cancellation_domain.record_refund(cancellation, progress.refund_id or "", now)
    else:
        ended = cancellation_domain.fail_refund(cancellation, progress.failure or "")
    update_cancellations(connection, [ended])
    outbox.write(connection, refund_ended(ended), now)


def _store_progress(
    connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime
) -> RefundOrder | None:
    """Store the progress of an order; return the changed order, or None if the progress changed nothing."""
    stored = store.lock(connection, order.event_id, order.order_id)
    if stored is None or (stored.status, stored.round) != (RefundOrderStatus.PENDING, order.round):
        # Another process has stored an answer before.
        return None
    after = domain.apply_progress(stored, progress, now)
    if after is stored:
        return None
    store.update(connection, after)
    kind = EntryKind.REFUNDED if after.status is RefundOrderStatus.DONE else EntryKind.REFUND_REFUSED
    ledger.enter(connection, refund_entry(after, kind, progress.refund_id, progress.failure or ""), now)
    if kind is EntryKind.REFUND_REFUSED:
        log.error("the provider refuses a refund", extra={**_log_fields(order), "failure": progress.failure})
        # The reason may be a refund or a dispute that is not recorded here.
        enqueue(connection, order.provider, [order.payment_id], now)
    return after


def _log_fields(order: RefundOrder) -> dict[str, object]:
    return {"event_id": order.event_id, "order_id": order.order_id, "attempts": order.attempts}
