"""Conversion of scans to messages."""

from functools import lru_cache
from typing import Final

from google.protobuf.json_format import ParseDict

from scan_service.convert.callers import may_see_codes
from scan_service.convert.enums import DENIAL_REASONS, SCAN_TYPES, TICKET_TYPES, VERDICTS
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import GroupAdmission, Scan
from ticketing.admission.tickets import CheckIn
from ticketing.chassis.callers import Caller
from ticketing.chassis.times import fill_timestamp, timestamp
from ticketing.scans.v1 import scan_pb2

# Thousands of scans have the same event.
_event_text: Final = lru_cache(1_000)(str)


def validation_message(scan: Scan, *, anywhere: bool) -> scan_pb2.Scan:
    """Build the message of a scan that is not recorded: it has no id, no record_time and, anywhere, no gate's event."""
    message = scan_message(scan)
    message.ClearField("scan_id")
    message.ClearField("record_time")
    if anywhere:
        message.ClearField("gate_event_id")
    return message


def scan_message_for(caller: Caller, scan: Scan) -> scan_pb2.Scan:
    """Build the message of a recorded scan, with the full code of its ticket unless the caller is an operator."""
    message = scan_message(scan)
    if not may_see_codes(caller):
        message.code = sanitize_text(scan.code)
    return message


def scan_message(scan: Scan) -> scan_pb2.Scan:
    """Build the message of a recorded scan for the gate that scanned."""
    message = scan_pb2.Scan()
    fill_scan(message, scan)
    return message


def fill_scan(message: scan_pb2.Scan, scan: Scan) -> None:
    """Fill the empty message of a scan; one inside another message is filled in place, because a copy costs as much."""
    message.scan_id = str(scan.scan_id)
    message.code = scan.code
    message.scan_type = SCAN_TYPES[scan.scan_type]
    message.verdict = VERDICTS[scan.verdict]
    fill_timestamp(message.scan_time, scan.scan_time)
    fill_timestamp(message.record_time, scan.record_time)
    message.location = scan.location
    message.device_id = scan.device_id
    message.scanner_user_id = scan.scanner_user_id
    message.offline = scan.offline
    message.gate_event_id = _event_text(scan.gate_event_id)
    message.doubtful_time = scan.doubtful_time
    message.looked_up = scan.looked_up
    message.recovered = scan.is_recovered
    if scan.annul_time is not None:
        fill_timestamp(message.annul_time, scan.annul_time)
    if (previous := previous_message(scan.previous)) is not None:
        message.previous.CopyFrom(previous)
    if scan.group_scan_id is not None:
        message.group_scan_id = str(scan.group_scan_id)
    if scan.group is not None:
        message.group.CopyFrom(_group_message(scan.group))
    if scan.denial_reason is not None:
        message.denial_reason = DENIAL_REASONS[scan.denial_reason]
    if scan.ticket_id is not None and scan.event_id is not None:
        message.ticket_id, message.event_id = str(scan.ticket_id), _event_text(scan.event_id)
    if scan.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[scan.ticket_type]
    if scan.metadata:
        ParseDict(scan.metadata, message.metadata)


def _group_message(group: GroupAdmission) -> scan_pb2.GroupAdmission:
    return scan_pb2.GroupAdmission(
        count=group.count,
        ticket_ids=[str(ticket_id) for ticket_id in group.ticket_ids],
        left=group.left,
        inside=group.inside,
        size=group.size,
    )


def previous_message(check_in: CheckIn | None) -> scan_pb2.PreviousScan | None:
    """Build the message of an earlier check-in; None stays absent."""
    if check_in is None:
        return None
    return scan_pb2.PreviousScan(
        scan_id=str(check_in.scan_id), scan_time=timestamp(check_in.time), location=check_in.location
    )
