"""The contract's numbers of the domain's names; a test holds every pair of lists together."""

from collections.abc import Mapping
from typing import Final, TypeVar

from ticket_service.domain.events import AdmissionPolicy, EventStatus, EventType, TicketType
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import event_pb2, ticket_pb2

E = TypeVar("E")

EVENT_TYPES: Final = {kind: event_pb2.EventType.Value(f"EVENT_TYPE_{kind}") for kind in EventType}
EVENT_STATUSES: Final = {status: event_pb2.EventStatus.Value(f"EVENT_STATUS_{status}") for status in EventStatus}
TICKET_TYPES: Final = {kind: event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}") for kind in TicketType}
ADMISSION_POLICIES: Final = {
    policy: event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}") for policy in AdmissionPolicy
}
TICKET_STATUSES: Final = {status: ticket_pb2.TicketStatus.Value(f"TICKET_STATUS_{status}") for status in TicketStatus}


def read_enum(fields: Fields, field: str, number: int, numbers: Mapping[E, int], unspecified: E | None = None) -> E:
    """Read an enum's number; `unspecified` is what 0 means, required where that is None."""
    for member, its_number in numbers.items():
        if its_number == number:
            return member
    if number != 0:
        fields.violate(field, f"has no value {number}")
    elif unspecified is None:
        fields.violate(field, "is required")
    return unspecified or next(iter(numbers))
