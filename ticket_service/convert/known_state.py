"""Conversion of the state that the scan service lists for a recovery."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, TICKET_STATUSES, TICKET_TYPES
from ticket_service.domain.recovery import KnownEvent, KnownKey, KnownRevocation, KnownTicket
from ticketing.scans.v1 import recovery_service_pb2 as pb
from ticketing.tickets.v1 import signing_key_pb2

K = TypeVar("K")
V = TypeVar("V")


def _inverse(numbers: Mapping[K, V]) -> dict[V, K]:
    return {number: member for member, number in numbers.items()}


_EVENT_STATUSES: Final = _inverse(EVENT_STATUSES)
_POLICIES: Final = _inverse(ADMISSION_POLICIES)
_STATUSES: Final = _inverse(TICKET_STATUSES)
_TYPES: Final = _inverse(TICKET_TYPES)


def events_request(after_event_id: str, limit: int) -> pb.ListKnownEventsRequest:
    """Build the request of a page of events."""
    return pb.ListKnownEventsRequest(after_event_id=after_event_id, max_events=limit)


def tickets_request(event_id: UUID, after_ticket_id: str, limit: int) -> pb.ListKnownTicketsRequest:
    """Build the request of a page of tickets."""
    return pb.ListKnownTicketsRequest(event_id=str(event_id), after_ticket_id=after_ticket_id, max_tickets=limit)


def keys_request() -> pb.ListKnownKeysRequest:
    """Build the request of the keys."""
    return pb.ListKnownKeysRequest()


def read_event(event: pb.KnownEvent) -> KnownEvent:
    """Read an event.

    Raises:
        LookupError, ValueError: the message is not of this version of the contract.
    """
    return KnownEvent(
        event_id=UUID(event.event_id),
        organizer_id=event.organizer_id,
        name=event.name,
        status=_EVENT_STATUSES[event.status],
        policy=_POLICIES[event.admission_policy],
        valid_from_time=_time(event.valid_from_time) if event.HasField("valid_from_time") else None,
        valid_until_time=_time(event.valid_until_time) if event.HasField("valid_until_time") else None,
        is_closed=event.closed,
        revision=event.revision,
    )


def read_ticket(ticket: pb.KnownTicket) -> KnownTicket:
    """Read a ticket; raise as `read_event`."""
    return KnownTicket(
        ticket_id=UUID(ticket.ticket_id),
        ticket_type=_TYPES[ticket.ticket_type] if ticket.ticket_type else None,
        status=_STATUSES[ticket.status],
        valid_from_time=_time(ticket.valid_from_time) if ticket.HasField("valid_from_time") else None,
        valid_until_time=_time(ticket.valid_until_time) if ticket.HasField("valid_until_time") else None,
        issue=ticket.issue,
        purchase_id=UUID(ticket.purchase_id) if ticket.purchase_id else None,
        is_replicated=ticket.is_replicated,
        check_in_time=_time(ticket.check_in_time) if ticket.HasField("check_in_time") else None,
        sequence=ticket.sequence,
        revocations=tuple(
            KnownRevocation(
                UUID(one.revocation_id),
                _time(one.create_time),
                _time(one.check_in_time) if one.HasField("check_in_time") else None,
            )
            for one in ticket.revocations
        ),
    )


def read_key(key: signing_key_pb2.SigningKey) -> KnownKey:
    """Read a public key."""
    return KnownKey(
        key_id=key.key_id or None,
        public_key=key.public_key,
        activate_time=_time(key.activate_time) if key.HasField("activate_time") else None,
        retire_time=_time(key.retire_time) if key.HasField("retire_time") else None,
    )


def _time(value: Timestamp) -> datetime:
    return value.ToDatetime(tzinfo=UTC)
