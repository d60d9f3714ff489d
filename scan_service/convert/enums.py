"""The contract's numbers of the domain's enums; a test compares every pair."""

from typing import Final

from scan_service.domain.incidents import IncidentKind
from ticketing.admission.scans import DenialReason, ScanType, Verdict
from ticketing.admission.tickets import AdmissionPolicy, EventStatus, TicketStatus, TicketType
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

EVENT_STATUSES: Final = {status: event_pb2.EventStatus.Value(f"EVENT_STATUS_{status}") for status in EventStatus}
ADMISSION_POLICIES: Final = {
    policy: event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}") for policy in AdmissionPolicy
}
TICKET_TYPES: Final = {kind: event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}") for kind in TicketType}
# UNKNOWN is missing: only a device replica contains that value.
TICKET_STATUSES: Final = {
    status: ticket_pb2.TicketStatus.Value(f"TICKET_STATUS_{status}")
    for status in TicketStatus
    if status is not TicketStatus.UNKNOWN
}
SCAN_TYPES: Final = {kind: scan_pb2.ScanType.Value(f"SCAN_TYPE_{kind}") for kind in ScanType}
VERDICTS: Final = {verdict: scan_pb2.Verdict.Value(f"VERDICT_{verdict}") for verdict in Verdict}
DENIAL_REASONS: Final = {reason: scan_pb2.DenialReason.Value(f"DENIAL_REASON_{reason}") for reason in DenialReason}
INCIDENT_KINDS: Final = {kind: scan_pb2.IncidentKind.Value(f"INCIDENT_KIND_{kind}") for kind in IncidentKind}
