"""The conversion of rows to events, tickets and scans."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ticketing.admission.scans import DenialReason, GroupAdmission, Scan, ScanType, Verdict
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

# The columns in the order that `ticket_of` expects.
TICKET_COLUMNS: Final = (
    "event_id",
    "ticket_id",
    "ticket_type",
    "status",
    "valid_from_time",
    "valid_until_time",
    "issue",
    "code_digest",
    "token_digest",
    "check_in_time",
    "entry_scan_id",
    "entry_time",
    "entry_location",
    "inside",
    "sequence",
    "purchase_id",
)
# A look-up in a dictionary takes a tenth of the time of a call of the enum.
_TYPES: Final = {str(one): one for one in TicketType}
_STATUSES: Final = {str(one): one for one in TicketStatus}


def ticket_of(row: tuple[Any, ...]) -> Ticket:
    """Read a row of TICKET_COLUMNS."""
    event_id, ticket_id, kind, status, begin, end, issue, code_digest, token_digest, *admission = row
    check_in_time, scan_id, time, location, inside, sequence, purchase_id = admission
    latest = None if scan_id is None else CheckIn(scan_id, time, location)
    return Ticket(
        event_id=event_id,
        ticket_id=ticket_id,
        ticket_type=None if kind is None else _TYPES[kind],
        status=_STATUSES[status],
        valid_from_time=begin,
        valid_until_time=end,
        issue=issue,
        code_digest=bytes(code_digest),
        token_digest=None if token_digest is None else bytes(token_digest),
        admission=AdmissionState(check_in_time, latest, inside, sequence),
        purchase_id=purchase_id,
    )


def event_of(row: Mapping[str, Any]) -> Event:
    """Read a row of `events` in the form of to_jsonb."""
    return Event(
        event_id=UUID(row["event_id"]),
        organizer_id=row["organizer_id"],
        name=row["name"],
        status=EventStatus(row["status"]),
        policy=AdmissionPolicy(row["admission_policy"]),
        valid_from_time=_time(row["valid_from_time"]),
        valid_until_time=_time(row["valid_until_time"]),
        closed=row["closed"],
        time_zone=row["time_zone"],
        day_change_hour=row["day_change_hour"],
    )


def scan_of(row: Mapping[str, Any]) -> Scan:
    """Read a row of `scans` in the form of to_jsonb."""
    return Scan(
        scan_id=UUID(row["scan_id"]),
        gate_event_id=UUID(row["event_id"]),
        # "\x" and hex digits.
        fingerprint=bytes.fromhex(row["fingerprint"][2:]),
        code=row["code"],
        scan_type=ScanType(row["scan_type"]),
        verdict=Verdict(row["verdict"]),
        denial_reason=row["denial_reason"] and DenialReason(row["denial_reason"]),
        ticket_id=_uuid(row["ticket_id"]),
        event_id=_uuid(row["ticket_event_id"]),
        ticket_type=row["ticket_type"] and TicketType(row["ticket_type"]),
        issue=row["issue"],
        scan_time=datetime.fromisoformat(row["scan_time"]),
        record_time=datetime.fromisoformat(row["record_time"]),
        location=row["location"],
        scanner_user_id=row["scanner_user_id"],
        metadata=row["metadata"],
        previous=_previous_of(row),
        device_id=row["device_id"],
        offline=row["offline"],
        annul_time=_time(row["annul_time"]),
        claimed_annul_time=_time(row["claimed_annul_time"]),
        violation=row["doubt"],
        doubtful_time=row["doubtful_time"],
        looked_up=row["looked_up"],
        **_group_of(row["group_admission"]),
    )


def group_row(scan: Scan) -> dict[str, Any] | None:
    """Return the value of `group_admission`: the answer to the scan of a group, or the scan of a further ticket."""
    if scan.group_scan_id is not None:
        return {"scan_id": str(scan.group_scan_id)}
    if (group := scan.group) is None:
        return None
    tickets = [str(ticket_id) for ticket_id in group.ticket_ids]
    numbers = {"left": group.left, "inside": group.inside, "size": group.size}
    return {"count": group.count, "ticket_ids": tickets, **numbers}


def _group_of(row: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if row is None:
        return {}
    if "scan_id" in row:
        return {"group_scan_id": UUID(row["scan_id"])}
    tickets = tuple(UUID(ticket_id) for ticket_id in row["ticket_ids"])
    return {"group": GroupAdmission(row["count"], tickets, row["left"], row["inside"], row["size"])}


def _previous_of(row: Mapping[str, Any]) -> CheckIn | None:
    scan_id, time = _uuid(row["previous_scan_id"]), _time(row["previous_time"])
    return None if scan_id is None or time is None else CheckIn(scan_id, time, row["previous_location"])


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
