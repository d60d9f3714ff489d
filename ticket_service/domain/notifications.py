"""What people and other systems are told of: each notification names one thing that has happened. Pure.

A notification holds ids, amounts and times, nothing that opens a gate and no address: those are looked up when it is
delivered, so that an address that was erased is nowhere, and a mail shows the ticket as it then is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.incidents import Incident
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.reissues import Reissue
from ticket_service.domain.tickets import Ticket

# What holders of a ticket need to know of, when it changes; the rest of an event says how selling goes on.
WORTH_TELLING: Final = ("name", "start_time", "end_time", "doors_open_time", "time_zone", "location", "is_online")


class Kind(StrEnum):
    """What has happened."""

    PURCHASE_COMPLETED = "purchase.completed"
    HOLD_EXPIRED = "purchase.expired"
    TICKET_CANCELLED = "ticket.cancelled"
    TICKET_REISSUED = "ticket.reissued"
    TICKET_TRANSFERRED = "ticket.transferred"
    TICKET_CHECKED_IN = "ticket.checked_in"
    # The caller's own payment system is to give money back, and says so with ConfirmRefund.
    REFUND_REQUESTED = "refund.requested"
    REFUND_MADE = "refund.made"
    REFUND_FAILED = "refund.failed"
    EVENT_CHANGED = "event.changed"
    EVENT_CANCELLED = "event.called_off"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing that has happened; of a ticket that was sold, purchase and holder are filled in where it is stored."""

    event_id: UUID
    kind: Kind
    # None: it is about the whole event.
    purchase_id: UUID | None = None
    ticket_id: UUID | None = None
    user_id: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    # Of what has an id already that receivers may know it by; else each is given one.
    notification_id: UUID | None = None


def purchase_completed(purchase: Purchase, tickets: Sequence[Ticket]) -> Notification:
    """Tell that tickets were issued."""
    data = {"ticket_ids": [str(ticket.ticket_id) for ticket in tickets], **_money(purchase.currency, purchase.total)}
    return _of_purchase(Kind.PURCHASE_COMPLETED, purchase, data)


def hold_expired(purchase: Purchase) -> Notification:
    """Tell that nobody paid in time."""
    return _of_purchase(Kind.HOLD_EXPIRED, purchase, _money(purchase.currency, purchase.total))


def payment_owed_back(purchase: Purchase, payment_id: str) -> Notification:
    """Tell that a payment came too late, or twice."""
    data = {"payment_id": payment_id, **_money(purchase.currency, purchase.total)}
    return _of_purchase(Kind.REFUND_REQUESTED, purchase, data)


def payment_given_back(purchase: Purchase, refund_id: str) -> Notification:
    """Tell that a payment that came too late, or twice, was refunded."""
    data = {"refund_id": refund_id, **_money(purchase.currency, purchase.total)}
    return _of_purchase(Kind.REFUND_MADE, purchase, data)


def cancelled(cancellation: Cancellation) -> list[Notification]:
    """Tell that a ticket was given back, and of the refund that is due; nothing where a gate was first."""
    told = []
    if cancellation.status in {CancellationStatus.DONE, CancellationStatus.REFUNDING}:
        told.append(_of_cancellation(Kind.TICKET_CANCELLED, cancellation))
    if cancellation.status is CancellationStatus.REFUNDING:
        told.append(_of_cancellation(Kind.REFUND_REQUESTED, cancellation))
    return told


def refunded(cancellation: Cancellation) -> Notification:
    """Tell that the refund of a ticket was made."""
    return _of_cancellation(Kind.REFUND_MADE, cancellation)


def refund_failed(cancellation: Cancellation) -> Notification:
    """Tell that the provider refuses the refund of a ticket for good."""
    return _of_cancellation(Kind.REFUND_FAILED, cancellation)


def reissued(reissue: Reissue, previous_user_id: str) -> Notification:
    """Tell that a ticket has a new code, or a new holder too."""
    is_transfer = reissue.user_id is not None
    return Notification(
        reissue.event_id,
        Kind.TICKET_TRANSFERRED if is_transfer else Kind.TICKET_REISSUED,
        ticket_id=reissue.ticket_id,
        data={"issue": reissue.issue} | ({"previous_user_id": previous_user_id} if is_transfer else {}),
    )


def event_changed(before: Event, after: Event) -> list[Notification]:
    """Tell holders what changed of an event; nothing where it does not concern them."""
    changed = [name for name in WORTH_TELLING if getattr(before, name) != getattr(after, name)]
    if not changed or after.status is not EventStatus.PUBLISHED or before.status is not after.status:
        return []
    return [Notification(after.event_id, Kind.EVENT_CHANGED, data={"changed": changed, "version": after.version})]


def event_cancelled(event: Event, reason: str) -> Notification:
    """Tell that an event does not take place."""
    data = {"reason": reason, "version": event.version}
    return Notification(event.event_id, Kind.EVENT_CANCELLED, data=data)


def checked_in(applied: Sequence[CheckIn]) -> list[Notification]:
    """Tell who came in; a check-in that was annulled is no news of somebody coming in."""
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
    """Tell of an incident; its own id is the notification's, so that one which is told again is known."""
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


def _of_purchase(kind: Kind, purchase: Purchase, data: Mapping[str, object]) -> Notification:
    return Notification(purchase.event_id, kind, purchase.purchase_id, user_id=purchase.user_id, data=data)


def _of_cancellation(kind: Kind, cancellation: Cancellation) -> Notification:
    data = {
        "cancellation_id": str(cancellation.cancellation_id),
        "refund_percent": cancellation.refund_percent,
        **_money(cancellation.currency, cancellation.refund_amount),
    }
    if cancellation.refund_id is not None:
        data["refund_id"] = cancellation.refund_id
    if cancellation.failure is not None:
        data["failure"] = cancellation.failure
    return Notification(cancellation.event_id, kind, ticket_id=cancellation.ticket_id, data=data)


def _money(currency: str, minor_units: int) -> dict[str, object]:
    return {"currency_code": currency, "minor_units": minor_units}
