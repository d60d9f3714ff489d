"""Apply what a provider reports about one payment: refunds that failed later, outside refunds, disputes, late charges.

The provider is the truth: each finding is stored with its ledger entry and its notification in one transaction. The
caller reads the provider's records before; no transaction contains a call to a provider. Applying the same records again
changes nothing.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import refund_orders as order_domain
from ticket_service.domain.findings import (
    DisputeChanged,
    Finding,
    NewCharge,
    NewOutsideRefund,
    OrderAnswered,
    OrderFailedLater,
    OrderMadeAfterAll,
    OutsideRefundFailed,
    OwnPayment,
    ProviderPayment,
    findings,
)
from ticket_service.domain.findings_notified import outside_refund_failed, outside_refund_recorded, payment_unmatched
from ticket_service.domain.holds import Payment
from ticket_service.domain.ledger import EntryKind, outside_refund_entry, refund_entry
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.payments import RefundProgress, RefundState
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.reconciliation import ProviderCharge, ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.store import ledger, outbox, refund_orders
from ticket_service.store import outside_refunds as outside_store
from ticket_service.store.events import find_event, lock_event
from ticket_service.store.holds import lock_purchases
from ticket_service.store.purchases import find_purchase
from ticket_service.store.reconciliation import read_own_payments
from ticket_service.use_cases.disputes import apply_dispute
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.refund_effects import (
    credit_order,
    end_order,
    fail_order_later,
    lock_cause,
    return_credit,
)
from ticket_service.use_cases.refunds import record_answer
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)


class Reconciliation:
    """The use case of applying a provider's records.

    Args:
        database: the tickets database.
        holds: records captured charges.
        clock: returns the present time.
        on_change: called after each commit that may change the feed.
        blocks_disputed: an open dispute blocks the tickets of its purchase.
    """

    def __init__(
        self,
        database: Database,
        holds: Holds,
        clock: Clock,
        on_change: Callable[[], None],
        *,
        blocks_disputed: bool,
    ) -> None:
        self._database = database
        self._holds = holds
        self._clock = clock
        self._on_change = on_change
        self._blocks_disputed = blocks_disputed

    async def apply(self, provider: str, there: ProviderPayment) -> None:
        """Apply all records of one payment.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE or OVERLOADED: the database did not answer.
        """
        [own] = await self._database.run(lambda c: read_own_payments(c, provider, [there.payment_id]))
        if own.purchase_id is None:
            if there.charge is None:
                # The payment is not captured, or it belongs to another system with the same account.
                return
            await self._record_charge(provider, there.charge, there)
        await self._database.run(lambda connection: self._apply(connection, provider, there))
        self._on_change()

    def compare_order(
        self, connection: Connection, order: RefundOrder, refunds: Sequence[ProviderRefund]
    ) -> RefundOrder | None:
        """Apply the refunds of an order's payment before the order is tried, and let it take the unused credit.

        The caller has claimed the order, and no try of it is under way.

        Returns:
            The order to try; None: it needs no further refund, or waits for a refund that is under way.
        """
        self._apply(connection, order.provider, ProviderPayment(order.payment_id, refunds=tuple(refunds)))
        lock_event(connection, order.event_id)
        [purchase] = lock_purchases(connection, order.event_id, [order.purchase_id])
        credit_order(connection, purchase, order, self._clock())
        [own] = read_own_payments(connection, order.provider, [order.payment_id])
        others = own.orders.keys() - {str(order.order_id)}
        if any(refund.state is RefundState.WAITING and refund.order_id not in others for refund in refunds):
            # It may be a refund of a lost order, as after a restore: once it is made, it counts for this one.
            return None
        stored = refund_orders.lock(connection, order.event_id, order.order_id)
        is_due = stored is not None and (stored.status, stored.round) == (RefundOrderStatus.PENDING, order.round)
        return stored if is_due else None

    async def _record_charge(self, provider: str, charge: ProviderCharge, there: ProviderPayment) -> None:
        """Record a captured charge as a payment, early or late; without a purchase, record that it has none."""
        purchase = await self._database.run(lambda c: _purchase_of(c, charge))
        if purchase is not None:
            log.info("a captured charge is recorded", extra=_log_fields(purchase, charge.payment_id))
            paid = (charge.currency, charge.amount)
            await self._holds.record_charge(purchase, Payment(charge.payment_id, paid, provider))
            return
        refunded = sum(refund.amount for refund in there.refunds if refund.state is RefundState.MADE)
        await self._database.run(lambda c: _record_unmatched(c, provider, charge, refunded, self._clock()))

    def _apply(self, connection: Connection, provider: str, there: ProviderPayment) -> None:
        [own] = read_own_payments(connection, provider, [there.payment_id])
        if own.event_id is None or own.purchase_id is None or not findings(there, own):
            return
        lock_event(connection, own.event_id)
        [purchase] = lock_purchases(connection, own.event_id, [own.purchase_id])
        # Another transaction may have applied them before the event was locked.
        [own] = read_own_payments(connection, provider, [there.payment_id])
        now = self._clock()
        for record in there.records():
            for finding in findings(record, own):
                log.info(
                    "a difference to the provider is applied",
                    extra={**_log_fields(purchase, there.payment_id), "finding": type(finding).__name__},
                )
                self._apply_finding(connection, purchase, own, finding, now)
                # A finding may change the purchase, and what another record means.
                [purchase] = lock_purchases(connection, purchase.event_id, [purchase.purchase_id])
                [own] = read_own_payments(connection, provider, [there.payment_id])
        failed = refund_orders.find_failed(connection, purchase.event_id, purchase.purchase_id, there.payment_id)
        for order in failed:
            credit_order(connection, purchase, order, now)

    def _apply_finding(
        self, connection: Connection, purchase: Purchase, own: OwnPayment, finding: Finding, now: datetime
    ) -> None:
        match finding:
            case NewCharge():
                # `apply` has recorded it.
                pass
            case OrderAnswered(order, refund):
                record_answer(connection, order, RefundProgress(refund.state, refund.refund_id, refund.failure), now)
            case OrderMadeAfterAll(order, refund):
                lock_cause(connection, order)
                recovered = order_domain.recover(order, refund.refund_id, now)
                refund_orders.update(connection, recovered)
                ledger.enter(connection, refund_entry(recovered, EntryKind.REFUNDED, refund.refund_id), now)
                end_order(connection, purchase, recovered, now)
            case OrderFailedLater(order, refund):
                fail_order_later(connection, purchase, order, refund.failure, now)
            case NewOutsideRefund(refund):
                _record_outside_refund(connection, purchase, own, refund, now)
            case OutsideRefundFailed(outside):
                _fail_outside_refund(connection, purchase, outside, now)
            case DisputeChanged(dispute):
                apply_dispute(connection, purchase, own, dispute, now, blocks_tickets=self._blocks_disputed)


def _record_outside_refund(
    connection: Connection, purchase: Purchase, own: OwnPayment, refund: ProviderRefund, now: datetime
) -> None:
    outside = OutsideRefund(
        event_id=purchase.event_id,
        provider=own.provider,
        refund_id=refund.refund_id,
        purchase_id=purchase.purchase_id,
        payment_id=own.payment_id,
        kind=OutsideRefundKind.REFUND,
        currency=refund.currency,
        amount=refund.amount,
        create_time=now,
    )
    outside_store.store(connection, outside)
    ledger.enter(connection, outside_refund_entry(outside, EntryKind.REFUNDED), now)
    outbox.write(connection, outside_refund_recorded(purchase, outside), now)


def _fail_outside_refund(connection: Connection, purchase: Purchase, outside: OutsideRefund, now: datetime) -> None:
    failure = "a refund that was made outside of this service failed later"
    return_credit(connection, purchase, outside, failure, now)
    outbox.write(connection, outside_refund_failed(purchase, outside, failure), now)


def _purchase_of(connection: Connection, charge: ProviderCharge) -> Purchase | None:
    """Return the purchase that a charge pays; None: there is none, or it costs another amount."""
    try:
        purchase = find_purchase(connection, UUID(charge.purchase_id))
    except ValueError:
        return None
    if purchase is None or (purchase.currency, purchase.total) != (charge.currency, charge.amount):
        return None
    return purchase


def _record_unmatched(
    connection: Connection, provider: str, charge: ProviderCharge, refunded: int, now: datetime
) -> None:
    if not outside_store.record_unmatched(connection, provider, charge, refunded, now):
        return
    log.error(
        "the provider captured a payment that matches no purchase; refund it at the provider",
        extra={"payment_id": charge.payment_id, "purchase_id": charge.purchase_id},
    )
    try:
        event = find_event(connection, UUID(charge.event_id))
    except ValueError:
        return
    if event is not None:
        outbox.write(connection, payment_unmatched(event, charge), now)


def _log_fields(purchase: Purchase, payment_id: str) -> dict[str, object]:
    return {"event_id": purchase.event_id, "purchase_id": purchase.purchase_id, "payment_id": payment_id}
