"""The effects of money that returned or came back on refund orders, cancellations and payments.

Every function runs in a transaction that has locked the event and the purchase. The lock of an order follows the lock of
its cancellation or ticket refund, as in RetryRefund and ConfirmRefund.
"""

import logging
from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from ticket_service.domain import cancellations as cancellation_domain
from ticket_service.domain import refund_orders as order_domain
from ticket_service.domain import ticket_refunds as refund_domain
from ticket_service.domain.findings_notified import payment_refund_failed
from ticket_service.domain.holds import Payment, reopen_refund
from ticket_service.domain.ledger import EntryKind, outside_refund_entry, refund_entry
from ticket_service.domain.notifications import refund_ended, ticket_refund_failed, ticket_refund_made
from ticket_service.domain.outside_refunds import OutsideRefund, give_back, of_order, take_credit
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.store import holds as holds_store
from ticket_service.store import ledger, outbox, refund_orders, ticket_refunds
from ticket_service.store import outside_refunds as outside_store
from ticket_service.store.cancellations import in_event, lock_cancellation, update_cancellations
from ticket_service.use_cases.holds import record_refund

log = logging.getLogger(__name__)


def lock_cause(connection: Connection, order: RefundOrder) -> None:
    """Lock the cancellation or the ticket refund that an order pays, before the order is locked."""
    if order.cancellation_id is None:
        ticket_refunds.lock(connection, order.order_id)
    else:
        lock_cancellation(connection, order.cancellation_id, in_event(order.event_id))


def credit_order(connection: Connection, purchase: Purchase, order: RefundOrder, now: datetime) -> None:
    """Let an order that is not DONE, and of which no try is under way, take the unused credit of its payment."""
    lock_cause(connection, order)
    locked = refund_orders.lock(connection, order.event_id, order.order_id)
    if locked is None or (locked.status, locked.round) != (order.status, order.round):
        return
    outside = outside_store.of_payment(connection, order.event_id, order.provider, order.payment_id)
    crediting = take_credit(locked, outside, now)
    if not crediting.sources:
        return
    for source in crediting.sources:
        outside_store.store(connection, source)
    after = crediting.order
    refund_orders.update(connection, after)
    if after.status is RefundOrderStatus.DONE:
        end_order(connection, purchase, after, now)
    elif locked.status is RefundOrderStatus.FAILED and after.cancellation_id is not None:
        cancellation = lock_cancellation(connection, after.cancellation_id, in_event(after.event_id))
        if cancellation is not None:
            update_cancellations(connection, [cancellation_domain.retry_refund(cancellation)])


def end_order(connection: Connection, purchase: Purchase, order: RefundOrder, now: datetime) -> None:
    """Record the effect of an order that has become DONE on its cancellation, payment or ticket."""
    refund_id = order.refund_id or ""
    refund = ticket_refunds.lock(connection, order.order_id)
    if refund is not None:
        made = refund_domain.record_refund(refund, refund_id, now)
        ticket_refunds.update(connection, made)
        outbox.write(connection, ticket_refund_made(made), now)
        return
    if order.cancellation_id is None:
        payment = Payment(order.payment_id, (order.currency, order.amount), order.provider)
        record_refund(connection, purchase, payment, refund_id, now)
        return
    cancellation = lock_cancellation(connection, order.cancellation_id, in_event(order.event_id))
    if cancellation is not None:
        done = cancellation_domain.recover_refund(cancellation, refund_id, now)
        update_cancellations(connection, [done])
        outbox.write(connection, refund_ended(done), now)


def fail_order_later(
    connection: Connection, purchase: Purchase, order: RefundOrder, failure: str, now: datetime
) -> None:
    """Record that a made refund has failed later: the money came back, and the refund is due again."""
    log.error(
        "a refund failed after it was made", extra={"purchase_id": purchase.purchase_id, "order_id": order.order_id}
    )
    ledger.enter(connection, refund_entry(order, EntryKind.REFUND_RETURNED, order.refund_id, failure), now)
    _make_due_again(connection, purchase, order_domain.fail_later(order, failure, now), now)


def _make_due_again(connection: Connection, purchase: Purchase, failed: RefundOrder, now: datetime) -> None:
    """Store an order whose money came back, with the effect on its cancellation, payment or ticket."""
    lock_cause(connection, failed)
    refund_orders.update(connection, failed)
    refund = ticket_refunds.lock(connection, failed.order_id)
    if refund is not None:
        reopened = refund_domain.reopen(refund)
        ticket_refunds.update(connection, reopened)
        outbox.write(connection, ticket_refund_failed(reopened, failed.failure or ""), now)
        return
    if failed.cancellation_id is None:
        payment = Payment(failed.payment_id, (failed.currency, failed.amount), failed.provider)
        holds_store.store_refund(connection, payment, None)
        holds_store.update_purchase(connection, reopen_refund(purchase))
        outbox.write(connection, payment_refund_failed(purchase, failed), now)
        return
    cancellation = lock_cancellation(connection, failed.cancellation_id, in_event(failed.event_id))
    if cancellation is not None:
        after = cancellation_domain.fail_refund(cancellation, failed.failure or "")
        update_cancellations(connection, [after])
        outbox.write(connection, refund_ended(after), now)


def return_credit(
    connection: Connection, purchase: Purchase, outside: OutsideRefund, failure: str, now: datetime
) -> None:
    """Record that the money of an outside refund came back, and make the orders due again for what it covered.

    A part that was paid by hand cannot count for its order, so such an order is left: the log names its payment, the audit
    finds it, and a person decides.
    """
    left = outside.credited
    for found in refund_orders.find_credited(connection, outside.event_id, outside.purchase_id, outside.payment_id):
        lock_cause(connection, found)
        order = refund_orders.lock(connection, found.event_id, found.order_id)
        if order is None or (order.is_by_hand and order.status is RefundOrderStatus.DONE):
            continue
        taken = min(order.credited, left)
        if taken:
            _take_back(connection, purchase, order, taken, failure, now)
            left -= taken
    if left:
        log.error(
            "the money of an outside refund came back that counted for a refund paid by hand; pay this amount by hand",
            extra={"purchase_id": purchase.purchase_id, "payment_id": outside.payment_id, "minor_units": left},
        )
    outside_store.store(connection, give_back(outside, left, now))
    ledger.enter(connection, outside_refund_entry(outside, EntryKind.REFUND_RETURNED, failure), now)


def _take_back(  # noqa: PLR0913, PLR0917 - the order, its purchase, and what came back
    connection: Connection, purchase: Purchase, order: RefundOrder, amount: int, failure: str, now: datetime
) -> None:
    """Take credit from a locked order; a DONE order becomes due again for this amount."""
    if order.status is not RefundOrderStatus.DONE:
        if order.status is RefundOrderStatus.PENDING:
            ledger.enter(connection, refund_entry(order, EntryKind.REFUND_REFUSED, note=failure), now)
        refund_orders.update(connection, order_domain.without_credit(order, amount))
        return
    again = order_domain.fail_later(order, failure, now)
    if order.remaining:
        # The provider's own refund of the order stays made. It counts for the order from now on, as credit does.
        made = of_order(order, now)
        outside_store.store(connection, made)
        ledger.enter(connection, refund_entry(order, EntryKind.REFUND_RETURNED, order.refund_id, failure), now)
        ledger.enter(connection, outside_refund_entry(made, EntryKind.REFUNDED), now)
    else:
        ledger.enter(connection, refund_entry(order, EntryKind.REFUND_REFUSED, note=failure), now)
    _make_due_again(connection, purchase, replace(again, credited=order.amount - amount), now)
