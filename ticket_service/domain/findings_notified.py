"""Decide which notifications the findings of the reconciler cause."""

from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.events import Event
from ticket_service.domain.notifications import Kind, Notification, money_data, purchase_notification
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.reconciliation import ProviderCharge
from ticket_service.domain.refund_orders import RefundOrder


def payment_refund_failed(purchase: Purchase, order: RefundOrder) -> list[Notification]:
    """Return the notification of a refund of a payment that was refused, or that failed later; it is tried again."""
    data = {
        "payment_id": order.payment_id,
        "failure": order.failure or "",
        **money_data(order.currency, order.remaining),
    }
    return [purchase_notification(Kind.REFUND_FAILED, purchase, data)]


def outside_refund_recorded(purchase: Purchase, outside: OutsideRefund) -> list[Notification]:
    """Return the notification of a refund that was made outside of this service."""
    if outside.kind is OutsideRefundKind.DISPUTE:
        # The notification of the closed dispute contains the amount.
        return []
    return [purchase_notification(Kind.REFUND_RECORDED, purchase, _outside_refund_data(outside))]


def outside_refund_failed(purchase: Purchase, outside: OutsideRefund, failure: str) -> list[Notification]:
    """Return the notification of a refund that was made outside of this service and failed later."""
    data = {"failure": failure, **_outside_refund_data(outside)}
    return [purchase_notification(Kind.REFUND_FAILED, purchase, data)]


def payment_unmatched(event: Event, charge: ProviderCharge) -> list[Notification]:
    """Return the notification of a captured payment that matches no purchase of its event."""
    data = {
        "payment_id": charge.payment_id,
        # The id that the provider stores: the purchase may be lost.
        "paid_purchase_id": charge.purchase_id,
        **money_data(charge.currency, charge.amount),
    }
    return [Notification(event.event_id, Kind.PAYMENT_UNMATCHED, data=data)]


def dispute_changed(purchase: Purchase, before: Dispute | None, after: Dispute) -> list[Notification]:
    """Return the notification of a dispute that was opened or that ended; an inquiry counts as opened."""
    if before is not None and before.status is after.status:
        return []
    is_open = after.status in {DisputeStatus.INQUIRY, DisputeStatus.OPEN}
    data = {
        "dispute_id": str(after.dispute_id),
        "payment_id": after.payment_id,
        "status": after.status,
        "reason": after.reason,
        **money_data(after.currency, after.amount),
    }
    kind = Kind.DISPUTE_OPENED if is_open else Kind.DISPUTE_CLOSED
    return [purchase_notification(kind, purchase, data)]


def _outside_refund_data(outside: OutsideRefund) -> dict[str, object]:
    data = {"refund_id": outside.refund_id, "payment_id": outside.payment_id}
    return {**data, **money_data(outside.currency, outside.amount)}
