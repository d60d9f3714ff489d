"""Conversion of scans to messages."""

from google.protobuf.json_format import ParseDict

from scan_service.convert.callers import may_see_codes
from scan_service.convert.enums import DENIAL_REASONS, SCAN_TYPES, TICKET_TYPES, VERDICTS
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import GroupAdmission, Scan
from ticketing.admission.tickets import CheckIn
from ticketing.chassis.callers import Caller
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_pb2


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
    scan_time = timestamp(scan.scan_time)
    message = scan_pb2.Scan(
        scan_id=str(scan.scan_id),
        code=scan.code,
        scan_type=SCAN_TYPES[scan.scan_type],
        verdict=VERDICTS[scan.verdict],
        scan_time=scan_time,
        record_time=scan_time if scan.record_time == scan.scan_time else timestamp(scan.record_time),
        location=scan.location,
        device_id=scan.device_id,
        scanner_user_id=scan.scanner_user_id,
        offline=scan.offline,
        annul_time=timestamp(scan.annul_time),
        previous=previous_message(scan.previous),
        gate_event_id=str(scan.gate_event_id),
        doubtful_time=scan.doubtful_time,
        looked_up=scan.looked_up,
        recovered=scan.is_recovered,
        group_scan_id="" if scan.group_scan_id is None else str(scan.group_scan_id),
    )
    if scan.group is not None:
        message.group.CopyFrom(_group_message(scan.group))
    if scan.denial_reason is not None:
        message.denial_reason = DENIAL_REASONS[scan.denial_reason]
    if scan.ticket_id is not None:
        message.ticket_id, message.event_id = str(scan.ticket_id), str(scan.event_id)
    if scan.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[scan.ticket_type]
    if scan.metadata:
        ParseDict(scan.metadata, message.metadata)
    return message


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
