"""The contract's numbers of the domain's enums; a test compares every pair."""

from typing import Final

from ticket_service.domain.events import AdmissionPolicy, EventStatus, EventType, TicketType
from ticket_service.domain.tickets import TicketStatus
from ticketing.tickets.v1 import event_pb2, ticket_pb2

EVENT_TYPES: Final = {event_type: event_pb2.EventType.Value(f"EVENT_TYPE_{event_type}") for event_type in EventType}
EVENT_STATUSES: Final = {status: event_pb2.EventStatus.Value(f"EVENT_STATUS_{status}") for status in EventStatus}
TICKET_TYPES: Final = {
    ticket_type: event_pb2.TicketType.Value(f"TICKET_TYPE_{ticket_type}") for ticket_type in TicketType
}
ADMISSION_POLICIES: Final = {
    policy: event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}") for policy in AdmissionPolicy
}
TICKET_STATUSES: Final = {status: ticket_pb2.TicketStatus.Value(f"TICKET_STATUS_{status}") for status in TicketStatus}
