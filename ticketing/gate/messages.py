"""Conversions between the messages of the contract and the types of `ticketing.admission`.

The device does not validate messages of the scan service. A value that only a newer service has is read as
one that denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from nacl.signing import VerifyKey

from ticketing.admission.decision import DENIAL_BY_STATUS, PresentedTicket
from ticketing.admission.scans import DenialReason, Gate, GroupAdmission, ScanType, group_scan_id
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
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
    **{DENIAL_REASONS[reason]: status for status, reason in DENIAL_BY_STATUS.items()},
}


@dataclass(frozen=True, slots=True)
class EventRules:
    """The rules of one event, and the keys that verify its tickets."""

    event: Event
    keys: Mapping[int, PublicKey]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one scan, as the gate shows it."""

    scan_id: str
    # The ticket's code, or the scanned text.
    code: str
    scan_type: ScanType
    admitted: bool
    # UNKNOWN if only a newer service has the reason; None if the scan is admitted or if `note` is the reason.
    reason: DenialReason | None
    ticket_type: TicketType | None
    # The earlier check-in that caused the denial.
    previous: CheckIn | None
    # The time by the service's clock.
    time: datetime
    # The device decided without the service.
    offline: bool
    # The person did not pass.
    annulled: bool
    # A note for the person at the gate; empty if the reason suffices.
    note: str = ""
    # The answer to the same read a moment ago, shown again; nothing was recorded.
    repeated: bool = False
    # The value is False for an undo that annulled nothing.
    is_scan: bool = True
    # The time zone in which times are shown; None: that of the device, which does not have the event yet.
    zone: tzinfo | None = None
    # None: the scan is not that of a group.
    group: GroupAdmission | None = None

    @property
    def may_pass(self) -> bool:
        """Return whether the person may pass."""
        return self.admitted and not self.annulled

    @property
    def people(self) -> int:
        """Return the number of people whom the scan admitted or denied."""
        return 1 if self.group is None else self.group.count


def answer_of(scan: scan_pb2.Scan, note: str = "", zone: tzinfo | None = None) -> Answer:
    """Read the record of a scan as the answer to show."""
    admitted = scan.verdict == scan_pb2.VERDICT_ADMITTED
    return Answer(
        scan_id=scan.scan_id,
        code=scan.code,
        scan_type=next((kind for kind, number in SCAN_TYPES.items() if number == scan.scan_type), ScanType.CHECK_IN),
        admitted=admitted,
        reason=None if admitted else _REASONS.get(scan.denial_reason, DenialReason.UNKNOWN),
        ticket_type=_TICKET_TYPES.get(scan.ticket_type),
        previous=_check_in(scan.previous) if scan.HasField("previous") else None,
        time=time_of(scan.scan_time),
        offline=scan.offline,
        annulled=scan.HasField("annul_time"),
        note=note,
        zone=zone,
        group=_group_of(scan.group) if scan.HasField("group") else None,
    )


def admitted_tickets(scan: scan_pb2.Scan) -> Mapping[UUID, UUID]:
    """Return the tickets of a scan, each with the scan_id of its record; none where the ticket is unknown."""
    if scan.group.ticket_ids:
        scan_id = UUID(scan.scan_id)
        ticket_ids = [UUID(ticket_id) for ticket_id in scan.group.ticket_ids]
        return {ticket_id: group_scan_id(scan_id, index) for index, ticket_id in enumerate(ticket_ids)}
    return {UUID(scan.ticket_id): UUID(scan.scan_id)} if scan.ticket_id else {}


def group_message(group: GroupAdmission) -> scan_pb2.GroupAdmission:
    """Write the answer to the scan of a group."""
    return scan_pb2.GroupAdmission(
        count=group.count,
        ticket_ids=[str(ticket_id) for ticket_id in group.ticket_ids],
        left=group.left,
        inside=group.inside,
        size=group.size,
    )


def gate_message(gate: Gate) -> scan_pb2.Gate:
    """Write a gate."""
    kinds = sorted(TICKET_TYPES[kind] for kind in gate.allowed_types)
    return scan_pb2.Gate(event_id=str(gate.event_id), location=gate.location, allowed_ticket_types=kinds)


def rules_of(event_id: UUID, message: pb.GateRules) -> EventRules:
    """Read an event's rules."""
    event = Event(
        event_id=event_id,
        # The service checked the organizer before it sent the rules.
        organizer_id="",
        name=message.event_name,
        # COMPLETED admits nobody; DRAFT admits tokens.
        status=_EVENT_STATUSES.get(message.status, EventStatus.COMPLETED),
        policy=_POLICIES.get(message.admission_policy, AdmissionPolicy.SINGLE_ENTRY),
        valid_from_time=time_of(message.valid_from_time) if message.HasField("valid_from_time") else None,
        valid_until_time=time_of(message.valid_until_time) if message.HasField("valid_until_time") else None,
        closed=False,
        time_zone=message.time_zone or "UTC",
        day_change_hour=message.day_change_hour if message.HasField("day_change_hour") else None,
    )
    keys = {
        key.key_id: PublicKey(
            key=VerifyKey(key.public_key),
            activate_time=time_of(key.activate_time),
            retire_time=time_of(key.retire_time) if key.HasField("retire_time") else None,
        )
        for key in message.signing_keys
    }
    return EventRules(event, keys)


def ticket_of(event_id: UUID, message: pb.TicketAdmission) -> Ticket:
    """Read a ticket of the device replica."""
    return Ticket(
        event_id=event_id,
        ticket_id=UUID(bytes=message.ticket_id),
        ticket_type=_TICKET_TYPES.get(message.ticket_type),
        status=_TICKET_STATUSES.get(message.denial_reason, TicketStatus.UNKNOWN),
        valid_from_time=time_of(message.valid_from_time) if message.HasField("valid_from_time") else None,
        valid_until_time=time_of(message.valid_until_time) if message.HasField("valid_until_time") else None,
        issue=message.issue,
        # A device stores nothing from which a code or a token can be rebuilt.
        code_digest=b"",
        token_digest=None,
        admission=admission_of(message),
        purchase_id=UUID(bytes=message.purchase_id) if message.purchase_id else None,
    )


def admission_of(message: pb.TicketAdmission) -> AdmissionState:
    """Read the admission state of a ticket."""
    if not message.HasField("check_in"):
        return AdmissionState(inside=message.inside)
    check_in = _check_in(message.check_in)
    return AdmissionState(check_in_time=check_in.time, latest_check_in=check_in, inside=message.inside)


def previous_message(check_in: CheckIn) -> scan_pb2.PreviousScan:
    """Write a check-in."""
    return scan_pb2.PreviousScan(
        scan_id=str(check_in.scan_id), scan_time=timestamp(check_in.time), location=check_in.location
    )


def token_ticket_message(presented: PresentedTicket) -> pb.TicketAdmission:
    """Write a ticket that only its token proves."""
    message = pb.TicketAdmission(ticket_id=presented.ticket.ticket_id.bytes, issue=presented.issue)
    if presented.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[presented.ticket_type]
    return message


def time_of(message: Timestamp) -> datetime:
    """Read a time."""
    return message.ToDatetime(tzinfo=UTC)


def timestamp(time: datetime) -> Timestamp:
    """Write a time."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _group_of(message: scan_pb2.GroupAdmission) -> GroupAdmission:
    return GroupAdmission(
        count=message.count,
        ticket_ids=tuple(UUID(ticket_id) for ticket_id in message.ticket_ids),
        left=message.left if message.HasField("left") else None,
        inside=message.inside if message.HasField("inside") else None,
        size=message.size if message.HasField("size") else None,
    )


def _check_in(message: scan_pb2.PreviousScan) -> CheckIn:
    return CheckIn(UUID(message.scan_id), time_of(message.scan_time), message.location)
