"""Scans: requests read and checked, records written."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict

from scan_service.convert.enums import DENIAL_REASONS, SCAN_TYPES, TICKET_TYPES, VERDICTS, read_enum
from scan_service.domain.reasons import Reason
from ticketing.admission.codes import Codes, read_code
from ticketing.admission.scans import MAX_CODE, Attempt, Gate, OfflineDecision, Scan, ScanType, Verdict
from ticketing.admission.tickets import CheckIn
from ticketing.admission.tokens import DamagedToken, Token, read_token
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.failures import Failure
from ticketing.chassis.parsing import EPOCH, NIL, Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_pb2, scan_service_pb2

MAX_LOCATION: Final = 100
MAX_METADATA_BYTES: Final = 4 * 1024
# A clock that is further off than that is none.
MAX_OFFSET_SECONDS: Final = 366 * 24 * 3_600
# Roles that may scan for any event; an organizer only for their own.
ANY_EVENT: Final = (Role.SCANNER, Role.SERVICE)


def own_events_only(caller: Caller) -> str | None:
    """Return whose events the caller is bound to; None: anybody's."""
    if caller.is_any(Role.DEVICE):
        return caller.owner
    return None if caller.is_any(*ANY_EVENT) else caller.subject


def check_bounds(caller: Caller, event_id: UUID) -> None:
    """Hold a device to the events that it is for.

    Raises:
        Failure: FORBIDDEN.
    """
    if caller.bound_to and event_id not in caller.bound_to:
        raise Failure(Reason.FORBIDDEN, "this device is not for this event", event_id=event_id)


def read_gate(fields: Fields, message: scan_pb2.Gate, path: str = "") -> Gate:
    """Read a gate; every fault is noted in `fields`."""
    return Gate(
        event_id=fields.uuid(f"{path}event_id", message.event_id),
        location=fields.text(f"{path}location", message.location, max_length=MAX_LOCATION),
        allowed_types=frozenset(
            read_enum(fields, f"{path}allowed_ticket_types[{index}]", number, TICKET_TYPES)
            for index, number in enumerate(message.allowed_ticket_types)
        ),
    )


def read_credential(text: str, codes: Codes) -> Token | DamagedToken | bytes | None:
    """Tell what a text is: a token, one that is damaged, the digest of a typed code, or nothing known."""
    credential = read_token(text)
    if credential is None and (code := read_code(text)) is not None:
        return codes.digest(code)
    return credential


def read_decision(fields: Fields, message: scan_service_pb2.OfflineDecision, path: str) -> OfflineDecision:
    """Read what a device decided, its times put right by what its clock was off."""
    offset = _clock_offset(fields, message.clock_offset, f"{path}clock_offset")
    scan_time = annul_time = EPOCH
    if message.HasField("scan_time"):
        scan_time = _put_right(fields, f"{path}scan_time", fields.time(f"{path}scan_time", message.scan_time), offset)
    else:
        fields.violate(f"{path}scan_time", "is required")
    if message.HasField("annul_time"):
        said = fields.time(f"{path}annul_time", message.annul_time)
        annul_time = _put_right(fields, f"{path}annul_time", said, offset)
    verdict = read_enum(fields, f"{path}verdict", message.verdict, VERDICTS)
    reason = None
    if verdict is Verdict.DENIED or message.denial_reason:
        reason = read_enum(fields, f"{path}denial_reason", message.denial_reason, DENIAL_REASONS)
        if verdict is Verdict.ADMITTED:
            fields.violate(f"{path}denial_reason", "is for what was denied")
    return OfflineDecision(verdict, reason, scan_time, annul_time if message.HasField("annul_time") else None)


def _clock_offset(fields: Fields, message: Duration, field: str) -> timedelta:
    offset = timedelta(seconds=max(min(message.seconds, MAX_OFFSET_SECONDS), -MAX_OFFSET_SECONDS))
    offset += timedelta(microseconds=message.nanos // 1_000)
    if abs(message.seconds) > MAX_OFFSET_SECONDS:
        fields.violate(field, "is longer than a year")
    return offset


def _put_right(fields: Fields, field: str, time: datetime, offset: timedelta) -> datetime:
    try:
        return time + offset
    except OverflowError:
        fields.violate(field, "is not a time within the years 1 to 9999 once the clock is put right")
        return EPOCH


class AttemptReader:
    """Reads what one caller scans."""

    def __init__(self, caller: Caller, codes: Codes) -> None:
        self._caller = caller
        is_device = caller.is_any(Role.DEVICE)
        self._scanner, self._device = ("", caller.subject) if is_device else (caller.subject, "")
        self._organizer = own_events_only(caller)
        self._codes = codes

    def read(self, fields: Fields, message: scan_service_pb2.ScanAttempt, gate: Gate, path: str = "") -> Attempt:
        """Read a live scan; every fault is noted in `fields`."""
        if message.HasField("offline"):
            fields.violate(f"{path}offline", "is for scans of an upload")
        return self._read(fields, message, gate, path)

    def _read(self, fields: Fields, message: scan_service_pb2.ScanAttempt, gate: Gate, path: str) -> Attempt:
        if len(message.code) > MAX_CODE:
            fields.violate(f"{path}code", f"is longer than {MAX_CODE} characters")
        metadata: dict[str, object] = {}
        if message.HasField("metadata"):
            metadata = fields.struct(f"{path}metadata", message.metadata, max_bytes=MAX_METADATA_BYTES)
        return Attempt(
            scan_id=fields.uuid(f"{path}scan_id", message.scan_id),
            gate=gate,
            text=message.code,
            credential=read_credential(message.code, self._codes),
            scan_type=read_enum(fields, f"{path}scan_type", message.scan_type, SCAN_TYPES, ScanType.CHECK_IN),
            scanner_user_id=self._scanner,
            organizer_id=self._organizer,
            metadata=metadata,
            device_id=self._device,
        )

    def check_bounds(self, gate: Gate) -> None:
        """Hold a device to the events that it is for.

        Raises:
            Failure: FORBIDDEN.
        """
        check_bounds(self._caller, gate.event_id)

    def read_offline(
        self, fields: Fields, message: scan_service_pb2.ScanAttempt, gate: Gate, path: str = ""
    ) -> Attempt:
        """Read a scan that a device decided alone; `gate` is where it was, unless it says otherwise."""
        said, at = message.offline, f"{path}offline"
        if said.HasField("gate"):
            gate = read_gate(fields, said.gate, f"{at}.gate.")
        attempt = self._read(fields, message, gate, path)
        if not message.HasField("offline"):
            fields.violate(at, "is required")
            return attempt
        return replace(attempt, offline=read_decision(fields, said, f"{at}."))

    def read_request(self, message: scan_service_pb2.ScanTicketRequest) -> Attempt:
        """Read a ScanTicketRequest.

        Raises:
            Failure: INVALID_ARGUMENT, naming every field at fault.
        """
        fields = Fields()
        gate = read_gate(fields, message.gate, "gate.")
        read = self.read_offline if message.attempt.HasField("offline") else self.read
        attempt = read(fields, message.attempt, gate, "attempt.")
        fields.check()
        self.check_bounds(attempt.gate)
        return attempt

    def read_validation(self, message: scan_service_pb2.ValidateTicketRequest) -> tuple[Attempt, bool]:
        """Read a ValidateTicketRequest; the second tells that it asks for no event.

        Raises:
            Failure: INVALID_ARGUMENT, naming every field at fault.
        """
        fields = Fields()
        anywhere = not message.gate.event_id
        asked = scan_pb2.Gate()
        asked.CopyFrom(message.gate)
        if anywhere:
            asked.event_id = str(NIL)
            if self._caller.bound_to:
                fields.violate("gate.event_id", "is required of a device that is bound to events")
        gate = read_gate(fields, asked, "gate.")
        scan = scan_service_pb2.ScanAttempt(scan_id=str(NIL), code=message.code, scan_type=message.scan_type)
        attempt = self.read(fields, scan, gate)
        fields.check()
        if not anywhere:
            self.check_bounds(gate)
        return attempt, anywhere


def validation_message(scan: Scan) -> scan_pb2.Scan:
    """Write what would be recorded; it has no id and was not."""
    message = scan_message(scan)
    message.ClearField("scan_id")
    message.ClearField("record_time")
    return message


def scan_message(scan: Scan) -> scan_pb2.Scan:
    """Write a record."""
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
    )
    if scan.denial_reason is not None:
        message.denial_reason = DENIAL_REASONS[scan.denial_reason]
    if scan.ticket_id is not None:
        message.ticket_id, message.event_id = str(scan.ticket_id), str(scan.event_id)
    if scan.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[scan.ticket_type]
    if scan.metadata:
        ParseDict(scan.metadata, message.metadata)
    return message


def previous_message(entry: CheckIn | None) -> scan_pb2.PreviousScan | None:
    """Write a check-in; None stays absent."""
    if entry is None:
        return None
    return scan_pb2.PreviousScan(scan_id=str(entry.scan_id), scan_time=timestamp(entry.time), location=entry.location)
