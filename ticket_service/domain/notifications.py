"""Decide which notifications an action causes.

A notification contains no codes, tokens or e-mail addresses. The mail receiver reads them at delivery, so no
notification contains an erased address, and a mail shows the ticket in its present state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.incidents import Incident
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reissues import Reissue, ReissueStatus
from ticket_service.domain.ticket_refunds import TicketRefund
from ticket_service.domain.tickets import Ticket

# The fields of an event whose changes are notified to the holders of its tickets.
HOLDER_FIELDS: Final = ("name", "start_time", "end_time", "doors_open_time", "time_zone", "location", "is_online")


class Kind(StrEnum):
    """The kind of a notification, as receivers see it."""

    PURCHASE_COMPLETED = "purchase.completed"
    HOLD_EXPIRED = "purchase.expired"
    EMAIL_CORRECTED = "purchase.email_corrected"
    TICKET_CANCELLED = "ticket.cancelled"
    TICKET_REISSUED = "ticket.reissued"
    TICKET_TRANSFERRED = "ticket.transferred"
    TICKET_CHECKED_IN = "ticket.checked_in"
    # This kind requests a refund from the caller's own payment system, which confirms it with ConfirmRefund.
    REFUND_REQUESTED = "refund.requested"
    REFUND_MADE = "refund.made"
    REFUND_FAILED = "refund.failed"
    # Money returned to the buyer without a request to this service.
    REFUND_RECORDED = "refund.recorded"
    # The provider captured a payment that matches no purchase.
    PAYMENT_UNMATCHED = "payment.unmatched"
    DISPUTE_OPENED = "dispute.opened"
    DISPUTE_CLOSED = "dispute.closed"
    EVENT_CHANGED = "event.changed"
    # Receivers depend on this old name (decision 29).
    EVENT_CANCELLED = "event.called_off"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class Notification:
    """A message to receivers about one change; the store adds the purchase and the holder of a sold ticket."""

    event_id: UUID
    kind: Kind
    # None: the notification is about the whole event.
    purchase_id: UUID | None = None
    ticket_id: UUID | None = None
    user_id: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    # None: the store generates one.
    notification_id: UUID | None = None


def stream_of(notification: Notification, notification_id: UUID, purchase_id: UUID | None = None) -> UUID:
    """Return the stream of a delivery, within which notifications are in order; SQL of the dispatch decides alike.

    Args:
        notification: the notification.
        notification_id: its id, the stream of an incident about no sold ticket.
        purchase_id: the purchase to which a notification about a whole event is delivered.
    """
    purchase = notification.purchase_id or purchase_id
    if purchase is not None:
        return purchase
    return notification_id if notification.kind is Kind.INCIDENT else notification.event_id


def purchase_completed(purchase: Purchase, tickets: Sequence[Ticket]) -> list[Notification]:
    """Return the notification of a COMPLETED purchase and its tickets; a HELD purchase causes none."""
    if purchase.status is not PurchaseStatus.COMPLETED:
        return []
    data = {
        "ticket_ids": [str(ticket.ticket_id) for ticket in tickets],
        **money_data(purchase.currency, purchase.total),
    }
    return [purchase_notification(Kind.PURCHASE_COMPLETED, purchase, data)]


def hold_expired(purchase: Purchase) -> list[Notification]:
    """Return the notification of an EXPIRED purchase; a RELEASED or DECLINED purchase causes none."""
    if purchase.status is not PurchaseStatus.EXPIRED:
        return []
    return [purchase_notification(Kind.HOLD_EXPIRED, purchase, money_data(purchase.currency, purchase.total))]


def email_corrected(
    event_id: UUID, purchase_id: UUID, user_id: str, ticket_id: UUID | None = None
) -> list[Notification]:
    """Return the notification of a corrected address: of the buyer, or of the holder of one transferred ticket."""
    return [Notification(event_id, Kind.EMAIL_CORRECTED, purchase_id, ticket_id, user_id)]


def payment_refund_due(purchase: Purchase, payment_id: str, provider: str) -> list[Notification]:
    """Return the request to refund a late or second payment, if the caller's own payment system captured the payment.

    `provider` captured the payment; the purchase may have another provider.
    """
    if provider != EXTERNAL:
        return []
    data = {"payment_id": payment_id, **money_data(purchase.currency, purchase.total)}
    return [purchase_notification(Kind.REFUND_REQUESTED, purchase, data)]


def payment_refunded(purchase: Purchase, refund_id: str) -> list[Notification]:
    """Return the notification of the refund of a late or second payment."""
    data = {"refund_id": refund_id, **money_data(purchase.currency, purchase.total)}
    return [purchase_notification(Kind.REFUND_MADE, purchase, data)]


def cancellation_settled(cancellation: Cancellation, *, is_ordered: bool) -> list[Notification]:
    """Return the notification of a cancelled ticket and the request to refund it; a REJECTED cancellation causes none.

    `is_ordered`: this service has ordered the refund from a provider, so the caller's own system must not refund.
    """
    notifications = []
    if cancellation.status in {CancellationStatus.DONE, CancellationStatus.REFUNDING}:
        notifications.append(_cancellation_notification(Kind.TICKET_CANCELLED, cancellation))
    if cancellation.status is CancellationStatus.REFUNDING and not is_ordered:
        notifications.append(_cancellation_notification(Kind.REFUND_REQUESTED, cancellation))
    return notifications


def refund_ended(cancellation: Cancellation) -> list[Notification]:
    """Return the notification of a refund that was made (DONE) or that the provider refuses (REFUND_FAILED)."""
    kinds = {CancellationStatus.DONE: Kind.REFUND_MADE, CancellationStatus.REFUND_FAILED: Kind.REFUND_FAILED}
    kind = kinds.get(cancellation.status)
    return [] if kind is None else [_cancellation_notification(kind, cancellation)]


def ticket_refund_requested(refund: TicketRefund) -> list[Notification]:
    """Return the request to make a refund without a cancellation, if the caller's own payment system refunds."""
    return [_ticket_refund_notification(Kind.REFUND_REQUESTED, refund)] if refund.provider == EXTERNAL else []


def ticket_refund_made(refund: TicketRefund) -> list[Notification]:
    """Return the notification of a refund without a cancellation that was made."""
    return [_ticket_refund_notification(Kind.REFUND_MADE, refund)]


def ticket_refund_failed(refund: TicketRefund, failure: str) -> list[Notification]:
    """Return the notification of a refund without a cancellation that was refused, or that failed later."""
    notification = _ticket_refund_notification(Kind.REFUND_FAILED, refund)
    return [replace(notification, data={**notification.data, "failure": failure})]


def reissue_settled(reissue: Reissue, previous_user_id: str) -> list[Notification]:
    """Return the notification of a new issue of a ticket, for the same holder or another holder."""
    if reissue.status is not ReissueStatus.DONE:
        return []
    is_transfer = reissue.user_id is not None
    return [
        Notification(
            reissue.event_id,
            Kind.TICKET_TRANSFERRED if is_transfer else Kind.TICKET_REISSUED,
            ticket_id=reissue.ticket_id,
            data={"issue": reissue.issue} | ({"previous_user_id": previous_user_id} if is_transfer else {}),
        )
    ]


def event_changed(before: Event, after: Event, full_refund_until: datetime | None) -> list[Notification]:
    """Return the notification of changed HOLDER_FIELDS of a PUBLISHED event.

    `full_refund_until` is set if the change is a move: until then, tickets bought before are refunded in full.
    """
    changed = [name for name in HOLDER_FIELDS if getattr(before, name) != getattr(after, name)]
    if not changed or after.status is not EventStatus.PUBLISHED or before.status is not after.status:
        return []
    data: dict[str, object] = {"changed": changed, "version": after.version}
    if full_refund_until is not None:
        data["full_refund_until"] = full_refund_until.isoformat()
    return [Notification(after.event_id, Kind.EVENT_CHANGED, data=data)]


def event_cancelled(event: Event, reason: str) -> list[Notification]:
    """Return the notification of a cancelled event."""
    return [Notification(event.event_id, Kind.EVENT_CANCELLED, data={"reason": reason, "version": event.version})]


def checked_in(applied: Sequence[CheckIn]) -> list[Notification]:
    """Return the notifications of check-ins; an annulled check-in causes none."""
    return [
        Notification(
            report.event_id,
            Kind.TICKET_CHECKED_IN,
            ticket_id=report.ticket_id,
            data={"check_in_time": report.check_in_time.isoformat()},
        )
        for report in applied
        if report.check_in_time is not None
    ]


def incident(report: Incident) -> Notification:
    """Return the notification of an incident, with the incident's own id, so that receivers recognise a repetition."""
    return Notification(
        report.event_id,
        Kind.INCIDENT,
        ticket_id=report.ticket_id,
        data={
            "incident_id": str(report.incident_id),
            "kind": report.kind,
            "create_time": report.create_time.isoformat(),
            "scan_count": report.scan_count,
            "location": report.location,
        },
        notification_id=report.incident_id,
    )


def purchase_notification(kind: Kind, purchase: Purchase, data: Mapping[str, object]) -> Notification:
    """Return a notification about a purchase."""
    return Notification(purchase.event_id, kind, purchase.purchase_id, user_id=purchase.user_id, data=data)


def _cancellation_notification(kind: Kind, cancellation: Cancellation) -> Notification:
    data = {
        "cancellation_id": str(cancellation.cancellation_id),
        "refund_percent": cancellation.refund_percent,
        **money_data(cancellation.currency, cancellation.refund_amount),
    }
    if cancellation.refund_id is not None:
        data["refund_id"] = cancellation.refund_id
    if cancellation.failure is not None:
        data["failure"] = cancellation.failure
    return Notification(cancellation.event_id, kind, ticket_id=cancellation.ticket_id, data=data)


def _ticket_refund_notification(kind: Kind, refund: TicketRefund) -> Notification:
    data = {"ticket_refund_id": str(refund.ticket_refund_id), **money_data(refund.currency, refund.amount)}
    if refund.refund_id is not None:
        data["refund_id"] = refund.refund_id
    return Notification(refund.event_id, kind, ticket_id=refund.ticket_id, data=data)


def money_data(currency: str, minor_units: int) -> dict[str, object]:
    """Return an amount as the data of a notification."""
    return {"currency_code": currency, "minor_units": minor_units}
