"""Parsing of the requests of RecoveryService, and conversion of its answers to messages."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from scan_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, TICKET_STATUSES, TICKET_TYPES
from scan_service.domain.recovery import KnownEvent, KnownKey, KnownTicket
from ticketing.admission.tickets import TicketStatus
from ticketing.chassis.parsing import NIL, Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import recovery_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, signing_key_pb2, ticket_pb2

DEFAULT_LIMIT: Final = 1_000
_STATUSES: Final[Mapping[TicketStatus, ticket_pb2.TicketStatus.ValueType]] = dict(TICKET_STATUSES.items())


def read_events_request(request: pb.ListKnownEventsRequest) -> tuple[UUID, int]:
    """Read the event after which the page begins, and the largest number of events."""
    fields = Fields(request)
    after = fields.optional_uuid("after_event_id") or NIL
    limit = fields.number("max_events") or DEFAULT_LIMIT
    fields.check()
    return after, limit


def read_tickets_request(request: pb.ListKnownTicketsRequest) -> tuple[UUID, UUID, int]:
    """Read the event, the ticket after which the page begins, and the largest number of tickets."""
    fields = Fields(request)
    event_id = fields.uuid("event_id")
    after = fields.optional_uuid("after_ticket_id") or NIL
    limit = fields.number("max_tickets") or DEFAULT_LIMIT
    fields.check()
    return event_id, after, limit


def events_response(events: Sequence[KnownEvent]) -> pb.ListKnownEventsResponse:
    """Build a page of events."""
    return pb.ListKnownEventsResponse(
        events=[
            pb.KnownEvent(
                event_id=str(event.event_id),
                organizer_id=event.organizer_id,
                name=event.name,
                status=EVENT_STATUSES[event.status],
                admission_policy=ADMISSION_POLICIES[event.policy],
                valid_from_time=timestamp(event.valid_from_time),
                valid_until_time=timestamp(event.valid_until_time),
                time_zone=event.time_zone,
                day_change_hour=event.day_change_hour,
                closed=event.closed,
                revision=event.revision,
            )
            for event in events
        ]
    )


def tickets_response(tickets: Sequence[KnownTicket]) -> pb.ListKnownTicketsResponse:
    """Build a page of tickets."""
    return pb.ListKnownTicketsResponse(
        tickets=[
            pb.KnownTicket(
                ticket_id=str(ticket.ticket_id),
                ticket_type=event_pb2.TICKET_TYPE_UNSPECIFIED
                if ticket.ticket_type is None
                else TICKET_TYPES[ticket.ticket_type],
                status=_STATUSES[ticket.status],
                valid_from_time=timestamp(ticket.valid_from_time),
                valid_until_time=timestamp(ticket.valid_until_time),
                issue=ticket.issue,
                purchase_id="" if ticket.purchase_id is None else str(ticket.purchase_id),
                is_replicated=ticket.is_replicated,
                check_in_time=timestamp(ticket.check_in_time),
                sequence=ticket.sequence,
                revocations=[
                    pb.KnownRevocation(
                        revocation_id=str(one.revocation_id),
                        create_time=timestamp(one.create_time),
                        check_in_time=timestamp(one.check_in_time),
                    )
                    for one in ticket.revocations
                ],
            )
            for ticket in tickets
        ]
    )


def keys_response(keys: Sequence[KnownKey], retired: Sequence[KnownKey]) -> pb.ListKnownKeysResponse:
    """Build the response with the keys, and with those that are retired for good."""
    return pb.ListKnownKeysResponse(keys=map(_key, keys), retired_keys=map(_key, retired))


def _key(key: KnownKey) -> signing_key_pb2.SigningKey:
    return signing_key_pb2.SigningKey(
        key_id=key.key_id or 0,
        public_key=key.public_key,
        activate_time=timestamp(key.activate_time),
        retire_time=timestamp(key.retire_time),
    )
