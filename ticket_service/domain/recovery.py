"""Decide how a restored database is mended by what the scan service and the payment providers have.

A database that was restored to an earlier moment, or a replica that was promoted too early, lacks the latest changes. The
scan service has the result of most of them. A difference that it proves is mended; whatever nobody has is listed as lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, TicketType
from ticket_service.domain.purchases import Item
from ticket_service.domain.ticket_ids import number_in_purchase
from ticket_service.domain.tickets import CANCELLED_STATUSES, TicketStatus


class Cause(StrEnum):
    """The reason for which a recovery began."""

    OPERATOR = "OPERATOR"
    LOST_COMMITS = "LOST_COMMITS"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery of this database."""

    recovery_id: UUID
    cause: Cause
    # The restored moment, as the operator says; None: unknown.
    since: datetime | None
    begin_time: datetime
    # None: the recovery has not ended, and services refuse changes.
    end_time: datetime | None = None


class FindingKind(StrEnum):
    """The kind of a difference that a recovery found."""

    # Mended by what the scan service or the provider has.
    KEY_RESTORED = "KEY_RESTORED"
    KEY_RETIRED = "KEY_RETIRED"
    EVENT_PUBLISHED = "EVENT_PUBLISHED"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    PURCHASE_RESTORED = "PURCHASE_RESTORED"
    TICKET_BLOCKED = "TICKET_BLOCKED"
    TICKET_UNBLOCKED = "TICKET_UNBLOCKED"
    CANCELLATION_RESTORED = "CANCELLATION_RESTORED"
    CHECK_IN_RESTORED = "CHECK_IN_RESTORED"
    # Lost in part or in full: a person has to judge.
    KEY_ID_TAKEN = "KEY_ID_TAKEN"
    EVENT_LOST = "EVENT_LOST"
    EVENT_CHANGE_LOST = "EVENT_CHANGE_LOST"
    CAPACITY_EXCEEDED = "CAPACITY_EXCEEDED"
    HOLDER_LOST = "HOLDER_LOST"
    PURCHASE_LOST = "PURCHASE_LOST"
    CANCELLED_TICKET_LOST = "CANCELLED_TICKET_LOST"
    PAYMENT_ID_LOST = "PAYMENT_ID_LOST"
    PAYMENT_WITHOUT_PURCHASE = "PAYMENT_WITHOUT_PURCHASE"
    REFUND_UNCERTAIN = "REFUND_UNCERTAIN"
    REFUND_WITHOUT_CANCELLATION = "REFUND_WITHOUT_CANCELLATION"
    CHECK_IN_OF_CANCELLED_TICKET = "CHECK_IN_OF_CANCELLED_TICKET"
    PROVIDER_NOT_CONFIGURED = "PROVIDER_NOT_CONFIGURED"


# The meaning of each loss and the remedy, for the report of the command.
LOSSES: Final[Mapping[FindingKind, str]] = {
    FindingKind.KEY_ID_TAKEN: "the id of a lost key belongs to another key: holders of its tokens need new prints",
    FindingKind.EVENT_LOST: "the event is not in this database: create it again",
    FindingKind.EVENT_CHANGE_LOST: "the gates had other data of the event: repeat UpdateEvent",
    FindingKind.CAPACITY_EXCEEDED: "more places are sold than the event or the offer had: its capacity is raised",
    FindingKind.HOLDER_LOST: "reissued or transferred since: the print stays valid, TransferTicket names the holder",
    FindingKind.PURCHASE_LOST: "the ticket stays valid and keeps its place; buyer and price are unknown",
    FindingKind.CANCELLED_TICKET_LOST: "bought and cancelled since; gates deny the ticket",
    FindingKind.PAYMENT_ID_LOST: "paid outside of this service; the shop has the payment",
    FindingKind.PAYMENT_WITHOUT_PURCHASE: "paid, but no ticket is known: refund it at the provider, or sell anew",
    FindingKind.REFUND_UNCERTAIN: "cancelled; ask the shop whether it made the refund, then ConfirmRefund",
    FindingKind.REFUND_WITHOUT_CANCELLATION: "refunded; cancel the ticket that it was for, or unblock it; a part of the price needs nothing",
    FindingKind.CHECK_IN_OF_CANCELLED_TICKET: "checked in, but cancelled here",
    FindingKind.PROVIDER_NOT_CONFIGURED: "payments by this provider could not be compared: configure it",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference that was mended, or something that is lost."""

    kind: FindingKind
    # The id of the event, ticket, purchase, payment or key.
    subject: str
    event_id: UUID | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_lost(self) -> bool:
        """Return whether a person has to judge it."""
        return self.kind in LOSSES


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event as the scans database has it."""

    event_id: UUID
    organizer_id: str
    name: str
    status: EventStatus
    policy: AdmissionPolicy
    # None: the feed has not delivered the event.
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    is_closed: bool
    # The scan service has all changes up to this revision; 0: it is not known.
    revision: int


@dataclass(frozen=True, slots=True)
class KnownRevocation:
    """A decided revocation of a ticket, with the id of its cancellation or reissue."""

    revocation_id: UUID
    create_time: datetime
    # The check-in that came first; None: the ticket was revoked.
    check_in_time: datetime | None


@dataclass(frozen=True, slots=True)
class KnownTicket:
    """A ticket as the scans database has it."""

    ticket_id: UUID
    # None: only a revocation has named the ticket.
    ticket_type: TicketType | None
    status: TicketStatus
    valid_from_time: datetime | None
    valid_until_time: datetime | None
    issue: int
    purchase_id: UUID | None
    is_replicated: bool
    check_in_time: datetime | None
    sequence: int
    revocations: tuple[KnownRevocation, ...] = ()

    @property
    def is_cancelled(self) -> bool:
        """Return whether gates deny the ticket for good."""
        return self.status in CANCELLED_STATUSES


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key as the scans database has it; `key_id` and `activate_time` are None where only its retirement is."""

    key_id: int | None
    public_key: bytes
    activate_time: datetime | None
    retire_time: datetime | None


@dataclass(frozen=True, slots=True)
class OwnTicket:
    """A ticket of this database, as far as it is compared."""

    ticket_id: UUID
    status: TicketStatus
    issue: int
    revision: int
    check_in_sequence: int
    # A cancellation that the sweeper continues.
    has_pending_cancellation: bool = False
    # The issue of a reissue that the sweeper continues.
    pending_issue: int | None = None


class Mending(StrEnum):
    """A change of a ticket that this database lost."""

    TAKE_ISSUE = "TAKE_ISSUE"
    BLOCK = "BLOCK"
    UNBLOCK = "UNBLOCK"
    CANCEL = "CANCEL"
    CHECK_IN = "CHECK_IN"


def mendings(own: OwnTicket, known: KnownTicket, cursor: int) -> list[Mending]:
    """Return the changes of a ticket that this database lost, in the order in which they are applied.

    `cursor` is the revision up to which the scan service has the event; 0: it is not known.
    """
    found = []
    if known.issue > max(own.issue, own.pending_issue or 0):
        found.append(Mending.TAKE_ISSUE)
    is_open = own.status not in CANCELLED_STATUSES
    if known.is_cancelled:
        if is_open and not own.has_pending_cancellation:
            found.append(Mending.CANCEL)
    elif is_open and known.is_replicated and (own.revision <= cursor or cursor == 0):
        # The scan service has this state of the ticket or a later one, so a difference is a lost change.
        if known.status is TicketStatus.BLOCKED and own.status is TicketStatus.ACTIVE:
            found.append(Mending.BLOCK)
        elif known.status is TicketStatus.ACTIVE and own.status is TicketStatus.BLOCKED and cursor > 0:
            found.append(Mending.UNBLOCK)
    if known.sequence > own.check_in_sequence:
        found.append(Mending.CHECK_IN)
    return found


def event_findings(own: Event | None, known: KnownEvent) -> list[Finding]:
    """Return the changes of an event that this database lost."""
    if own is None:
        details = {"name": known.name, "organizer_id": known.organizer_id, "status": known.status}
        return [Finding(FindingKind.EVENT_LOST, str(known.event_id), known.event_id, details)]
    if known.is_closed and own.status is not EventStatus.CANCELLED:
        return [Finding(FindingKind.EVENT_CANCELLED, str(own.event_id), own.event_id)]
    if known.valid_from_time is None or own.changed_revision > known.revision:
        # The scan service does not have the present state of the event.
        return []
    found = []
    if known.status is EventStatus.PUBLISHED and own.status is EventStatus.DRAFT:
        found.append(Finding(FindingKind.EVENT_PUBLISHED, str(own.event_id), own.event_id))
    pairs = {
        "name": (known.name, own.name),
        "valid_from_time": (known.valid_from_time, own.admits_from),
        "valid_until_time": (known.valid_until_time, own.end_time),
        "admission_policy": (known.policy, own.admission_policy),
    }
    different = {
        name: {"gates": _text(there), "here": _text(here)} for name, (there, here) in pairs.items() if there != here
    }
    if different:
        found.append(Finding(FindingKind.EVENT_CHANGE_LOST, str(own.event_id), own.event_id, different))
    return found


def purchases_of_tickets(
    lost: Iterable[KnownTicket], candidates: Sequence[UUID]
) -> tuple[dict[UUID, dict[int, KnownTicket]], list[KnownTicket]]:
    """Assign lost tickets to purchases by their ids.

    Returns:
        The tickets of each purchase by their number in it, and the tickets of no candidate.
    """
    by_purchase: dict[UUID, dict[int, KnownTicket]] = {}
    others = []
    for ticket in lost:
        for purchase_id in (ticket.purchase_id,) if ticket.purchase_id in candidates else candidates:
            if purchase_id is not None and (number := number_in_purchase(ticket.ticket_id, purchase_id)) is not None:
                by_purchase.setdefault(purchase_id, {})[number] = ticket
                break
        else:
            others.append(ticket)
    return by_purchase, others


def priced_items(types: Sequence[TicketType], event: Event, total: int) -> tuple[Item, ...]:
    """Return the items of a purchase of tickets of these types that cost `total` together.

    The prices are those of the event where their sum is the total, otherwise equal parts of it.
    """
    prices = {kind: offer.price if (offer := event.offer(kind)) else event.ticket_price for kind in types}
    if sum(prices[kind] for kind in types) == total:
        items = list[Item]()
        for kind in types:
            if items and items[-1].ticket_type is kind:
                items[-1] = Item(kind, items[-1].quantity + 1, prices[kind])
            else:
                items.append(Item(kind, 1, prices[kind]))
        return tuple(items)
    part, rest = divmod(total, len(types))
    return tuple(Item(kind, 1, part + (number < rest)) for number, kind in enumerate(types))


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
