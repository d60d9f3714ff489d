"""Where the contract's messages and the rules of admission meet, as a device has them.

The scan service is ours, so its messages are read as they are; what a newer one adds is read as what denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from nacl.signing import VerifyKey

from ticketing.admission.decision import PresentedTicket
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import (
    Admission,
    AdmissionPolicy,
    CheckIn,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)
from ticketing.admission.tokens import PublicKey
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2

DENIAL_REASONS: Final = {reason: scan_pb2.DenialReason.Value(f"DENIAL_REASON_{reason}") for reason in DenialReason}
SCAN_TYPES: Final = {kind: scan_pb2.ScanType.Value(f"SCAN_TYPE_{kind}") for kind in ScanType}
TICKET_TYPES: Final = {kind: event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}") for kind in TicketType}

_REASONS: Final = {number: reason for reason, number in DENIAL_REASONS.items()}
_TICKET_TYPES: Final = {number: kind for kind, number in TICKET_TYPES.items()}
_EVENT_STATUSES: Final = {event_pb2.EventStatus.Value(f"EVENT_STATUS_{status}"): status for status in EventStatus}
_POLICIES: Final = {event_pb2.AdmissionPolicy.Value(f"ADMISSION_POLICY_{policy}"): policy for policy in AdmissionPolicy}
_TICKET_STATUSES: Final = {
    scan_pb2.DENIAL_REASON_UNSPECIFIED: TicketStatus.ACTIVE,
    scan_pb2.DENIAL_REASON_CANCELLED: TicketStatus.CANCELLED,
    scan_pb2.DENIAL_REASON_REFUNDED: TicketStatus.REFUNDED,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all tickets of the event, and the keys that verify them."""

    event: Event
    keys: Mapping[int, PublicKey]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate shows to a person."""

    scan_id: str
    # The ticket's code, or what was read.
    code: str
    scan_type: ScanType
    admitted: bool
    # None where admitted, and where the reason is one that this device does not know.
    reason: DenialReason | None
    ticket_type: TicketType | None
    # The check-in that stands in the way.
    previous: CheckIn | None
    # By the service's clock.
    time: datetime
    # Decided by this device alone.
    offline: bool
    # The person did not pass.
    annulled: bool
    # Words for the person at the gate; empty where the reason says it all.
    note: str = ""

    @property
    def green(self) -> bool:
        """Tell whether the person may pass."""
        return self.admitted and not self.annulled


def answer_of(scan: scan_pb2.Scan, note: str = "") -> Answer:
    """Read a record as what is shown."""
    return Answer(
        scan_id=scan.scan_id,
        code=scan.code,
        scan_type=next((kind for kind, number in SCAN_TYPES.items() if number == scan.scan_type), ScanType.CHECK_IN),
        admitted=scan.verdict == scan_pb2.VERDICT_ADMITTED,
        reason=_REASONS.get(scan.denial_reason),
        ticket_type=_TICKET_TYPES.get(scan.ticket_type),
        previous=_entry(scan.previous) if scan.HasField("previous") else None,
        time=time_of(scan.scan_time),
        offline=scan.offline,
        annulled=scan.HasField("annul_time"),
        note=note,
    )


def gate_message(gate: Gate) -> scan_pb2.Gate:
    """Write a gate."""
    kinds = sorted(TICKET_TYPES[kind] for kind in gate.allowed_types)
    return scan_pb2.Gate(event_id=str(gate.event_id), location=gate.location, allowed_ticket_types=kinds)


def rules_of(event_id: UUID, message: pb.GateRules) -> Rules:
    """Read an event's rules."""
    event = Event(
        event_id=event_id,
        # Whose event it is was asked before the copy was sent.
        organizer_id="",
        name=message.event_name,
        status=_EVENT_STATUSES.get(message.status, EventStatus.DRAFT),
        policy=_POLICIES.get(message.admission_policy, AdmissionPolicy.SINGLE_ENTRY),
        valid_from_time=time_of(message.valid_from_time) if message.HasField("valid_from_time") else None,
        valid_until_time=time_of(message.valid_until_time) if message.HasField("valid_until_time") else None,
        closed=False,
    )
    keys = {
        key.key_id: PublicKey(
            key=VerifyKey(key.public_key),
            activate_time=time_of(key.activate_time),
            retire_time=time_of(key.retire_time) if key.HasField("retire_time") else None,
        )
        for key in message.signing_keys
    }
    return Rules(event, keys)


def ticket_of(event_id: UUID, message: pb.TicketAdmission) -> Ticket:
    """Read a ticket of the copy."""
    return Ticket(
        event_id=event_id,
        ticket_id=UUID(bytes=message.ticket_id),
        ticket_type=_TICKET_TYPES.get(message.ticket_type),
        # What has no status of its own denies all the same.
        status=_TICKET_STATUSES.get(message.denial_reason, TicketStatus.BLOCKED),
        valid_from_time=time_of(message.valid_from_time) if message.HasField("valid_from_time") else None,
        valid_until_time=time_of(message.valid_until_time) if message.HasField("valid_until_time") else None,
        issue=message.issue,
        # A device keeps nothing that opens a gate.
        code_digest=b"",
        token_digest=None,
        admission=admission_of(message),
    )


def admission_of(message: pb.TicketAdmission) -> Admission:
    """Read how a ticket's admission stands."""
    if not message.HasField("check_in"):
        return Admission(inside=message.inside)
    entry = _entry(message.check_in)
    return Admission(check_in_time=entry.time, latest_check_in=entry, inside=message.inside)


def previous_message(entry: CheckIn) -> scan_pb2.PreviousScan:
    """Write a check-in."""
    return scan_pb2.PreviousScan(scan_id=str(entry.scan_id), scan_time=timestamp(entry.time), location=entry.location)


def proven_message(shown: PresentedTicket) -> pb.TicketAdmission:
    """Write a ticket that nothing is known of but its token."""
    message = pb.TicketAdmission(ticket_id=shown.ticket.ticket_id.bytes, issue=shown.issue)
    if shown.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[shown.ticket_type]
    return message


def time_of(message: Timestamp) -> datetime:
    """Read a time."""
    return message.ToDatetime(tzinfo=UTC)


def timestamp(time: datetime) -> Timestamp:
    """Write a time."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _entry(message: scan_pb2.PreviousScan) -> CheckIn:
    return CheckIn(UUID(message.scan_id), time_of(message.scan_time), message.location)
