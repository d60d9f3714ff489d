"""The contract's numbers of the domain's names; a test holds every pair of lists together."""

from collections.abc import Mapping
from typing import Final, TypeVar

from scan_service.domain.incidents import IncidentKind
from ticketing.admission.scans import DenialReason, ScanType, Verdict
from ticketing.admission.tickets import AdmissionPolicy, EventStatus, TicketStatus, TicketType
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

E = TypeVar("E")

EVENT_STATUSES: Final = {status: event_pb2.EventStatus.Value(f"EVENT_STATUS_{status}") for status in EventStatus}
ADMISSION_POLICIES: Final = {
    policy: event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}") for policy in AdmissionPolicy
}
TICKET_TYPES: Final = {kind: event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}") for kind in TicketType}
TICKET_STATUSES: Final = {status: ticket_pb2.TicketStatus.Value(f"TICKET_STATUS_{status}") for status in TicketStatus}
SCAN_TYPES: Final = {kind: scan_pb2.ScanType.Value(f"SCAN_TYPE_{kind}") for kind in ScanType}
VERDICTS: Final = {verdict: scan_pb2.Verdict.Value(f"VERDICT_{verdict}") for verdict in Verdict}
DENIAL_REASONS: Final = {reason: scan_pb2.DenialReason.Value(f"DENIAL_REASON_{reason}") for reason in DenialReason}

INCIDENT_KINDS: Final = {kind: scan_pb2.IncidentKind.Value(f"INCIDENT_KIND_{kind}") for kind in IncidentKind}


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
