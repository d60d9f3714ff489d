"""The audit trail: changes that callers made or requested, without addresses, codes or tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.domain.events import Event
from ticket_service.domain.tickets import Ticket
from ticketing.chassis.parsing import NIL

# The texts that organizers write at length and the counters that follow from other changes are named without values.
_NAMED_ONLY: Final = frozenset({"description", "metadata", "offers", "refund_tiers"})
_DERIVED: Final = frozenset({"update_time", "revision", "changed_revision", "version", "reserved"})
_MAX_VALUE_CHARACTERS: Final = 200


class ChangeKind(StrEnum):
    """The kind of a change."""

    EVENT_CREATED = "EVENT_CREATED"
    EVENT_UPDATED = "EVENT_UPDATED"
    EVENT_PUBLISHED = "EVENT_PUBLISHED"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"
    REISSUE_REQUESTED = "REISSUE_REQUESTED"
    TRANSFER_REQUESTED = "TRANSFER_REQUESTED"
    TICKET_BLOCKED = "TICKET_BLOCKED"
    TICKET_UNBLOCKED = "TICKET_UNBLOCKED"
    PAYMENT_CONFIRMED = "PAYMENT_CONFIRMED"
    PURCHASE_RELEASED = "PURCHASE_RELEASED"
    REFUND_CONFIRMED = "REFUND_CONFIRMED"
    REFUND_RETRIED = "REFUND_RETRIED"
    EMAIL_CORRECTED = "EMAIL_CORRECTED"
    ERASURE_REQUESTED = "ERASURE_REQUESTED"
    TICKET_REFUND_REQUESTED = "TICKET_REFUND_REQUESTED"
    TICKETS_LOOKED_UP = "TICKETS_LOOKED_UP"
    PERSON_SEARCHED = "PERSON_SEARCHED"
    DATABASE_RECOVERED = "DATABASE_RECOVERED"


@dataclass(frozen=True, slots=True)
class Change:
    """A change to record."""

    kind: ChangeKind
    event_id: UUID
    purchase_id: UUID | None = None
    ticket_id: UUID | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change with its caller."""

    change_id: UUID
    change: Change
    caller: str
    roles: tuple[str, ...]
    # The x-request-id of the call.
    request_id: str
    create_time: datetime


def ticket_change(kind: ChangeKind, ticket: Ticket, **details: object) -> Change:
    """Return a change of one ticket."""
    return Change(kind, ticket.event_id, ticket.purchase_id, ticket.ticket_id, details)


def person_search(rpc: str, event_id: UUID | None, searched: Mapping[str, str], results: int) -> Change | None:
    """Return the record of a search by the fields `searched`, without their texts; None where all of them are empty."""
    by = sorted(name for name, text in searched.items() if text)
    details = {"rpc": rpc, "by": by, "results": results}
    return Change(ChangeKind.PERSON_SEARCHED, event_id or NIL, details=details) if by else None


def event_change(before: Event, after: Event) -> Change:
    """Return the change of an event, with the values that are short before and after it."""
    changed: dict[str, object] = {}
    for name in (one.name for one in fields(Event) if one.name not in _DERIVED):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            changed[name] = {} if name in _NAMED_ONLY else {"from": _text(old), "to": _text(new)}
    return Change(ChangeKind.EVENT_UPDATED, after.event_id, details={"changed": changed})


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value)[:_MAX_VALUE_CHARACTERS]
