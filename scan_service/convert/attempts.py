"""Parsing of scans, live and offline."""

from datetime import datetime, timedelta

from scan_service.convert.callers import check_device_event, own_organizer
from scan_service.convert.enums import DENIAL_REASONS, SCAN_TYPES, TICKET_TYPES, VERDICTS
from ticketing.admission.codes import Codes, read_code
from ticketing.admission.look_up_passes import LookUpPass, read_pass
from ticketing.admission.scans import Attempt, Gate, OfflineDecision, ScanType, Verdict
from ticketing.admission.tokens import DamagedToken, Token, read_token
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.parsing import EPOCH, NIL, Fields
from ticketing.scans.v1 import scan_pb2, scan_service_pb2


def read_gate(fields: Fields[scan_pb2.Gate]) -> Gate:
    """Read a gate."""
    return Gate(
        event_id=fields.uuid("event_id"),
        location=fields.text("location"),
        allowed_types=fields.enums("allowed_ticket_types", TICKET_TYPES),
    )


def read_credential(text: str, codes: Codes) -> Token | DamagedToken | LookUpPass | bytes | None:
    """Read a scanned text: a token, a damaged token, a look-up pass, or a typed code as its digest; None: none of these."""
    credential = read_token(text) or read_pass(text)
    if credential is None and (code := read_code(text)) is not None:
        return codes.digest(code)
    return credential


class AttemptParser:
    """The parser of the scans of one caller."""

    def __init__(self, caller: Caller, codes: Codes) -> None:
        self._caller = caller
        is_device = caller.is_any(Role.DEVICE)
        self._scanner, self._device = ("", caller.subject) if is_device else (caller.subject, "")
        self._organizer = own_organizer(caller)
        self._codes = codes

    def read_live(self, fields: Fields[scan_service_pb2.ScanAttempt], gate: Gate) -> Attempt:
        """Read a live scan at `gate`; the result is usable only if `fields` has no violation."""
        if fields.message.HasField("offline"):
            fields.violate("offline", "is for scans of an upload")
        return self._read(fields, gate, None)

    def read_offline(self, fields: Fields[scan_service_pb2.ScanAttempt], gate: Gate) -> Attempt:
        """Read an offline scan at its own gate or else at `gate`; the result is usable only if `fields` has no violation."""
        message = fields.message
        if not message.HasField("offline"):
            fields.violate("offline", "is required")
            return self._read(fields, gate, None)
        offline = fields.inside("offline", message.offline)
        if message.offline.HasField("gate"):
            gate = read_gate(offline.inside("gate", message.offline.gate))
        attempt = self._read(fields, gate, _read_decision(offline))
        expected = attempt.group_count - 1 if message.offline.verdict == VERDICTS[Verdict.ADMITTED] else 0
        ticket_ids = message.offline.group_ticket_ids
        if len(ticket_ids) != max(expected, 0) and not offline.at_fault("group_ticket_ids"):
            offline.violate("group_ticket_ids", f"holds {len(ticket_ids)} instead of {max(expected, 0)}")
        return attempt

    def check_event(self, gate: Gate) -> None:
        """Refuse a gate of an event that the device is not for, as FORBIDDEN."""
        check_device_event(self._caller, gate.event_id)

    def read_request(self, message: scan_service_pb2.ScanTicketRequest) -> Attempt:
        """Read a ScanTicketRequest.

        Raises:
            Failure: INVALID_ARGUMENT, naming every field at fault; FORBIDDEN.
        """
        fields = Fields(message)
        gate = read_gate(fields.inside("gate", message.gate))
        read = self.read_offline if message.attempt.HasField("offline") else self.read_live
        attempt = read(fields.inside("attempt", message.attempt), gate)
        fields.check()
        self.check_event(attempt.gate)
        return attempt

    def read_validation(self, message: scan_service_pb2.ValidateTicketRequest) -> tuple[Attempt, bool]:
        """Read a ValidateTicketRequest, and whether it admits tickets of every event.

        Raises:
            Failure: INVALID_ARGUMENT, naming every field at fault; FORBIDDEN.
        """
        fields = Fields(message)
        any_event = not message.gate.event_id
        gate_message = scan_pb2.Gate()
        gate_message.CopyFrom(message.gate)
        if any_event:
            gate_message.event_id = str(NIL)
            if self._caller.bound_to:
                fields.violate("gate.event_id", "is required of a device that is bound to events")
        gate = read_gate(fields.inside("gate", gate_message))
        scan = scan_service_pb2.ScanAttempt(scan_id=str(NIL), code=message.code, scan_type=message.scan_type)
        attempt = self.read_live(Fields(scan, of=fields), gate)
        fields.check()
        if not any_event:
            self.check_event(gate)
        return attempt, any_event

    def _read(
        self, fields: Fields[scan_service_pb2.ScanAttempt], gate: Gate, offline: OfflineDecision | None
    ) -> Attempt:
        # Any text is valid: the record of a scan escapes the characters that cannot be stored or shown.
        text = fields.any_text("code")
        scan_type = fields.enum("scan_type", SCAN_TYPES, ScanType.CHECK_IN)
        group_count = fields.number("group_count")
        if group_count and scan_type is not ScanType.CHECK_IN:
            fields.violate("group_count", "is for check-ins")
        return Attempt(
            scan_id=fields.uuid("scan_id"),
            gate=gate,
            text=text,
            credential=read_credential(text, self._codes),
            scan_type=scan_type,
            scanner_user_id=self._scanner,
            organizer_id=self._organizer,
            metadata=fields.struct("metadata"),
            device_id=self._device,
            offline=offline,
            group_count=group_count,
        )


def _read_decision(fields: Fields[scan_service_pb2.OfflineDecision]) -> OfflineDecision:
    message = fields.message
    offset = fields.span("clock_offset") if message.HasField("clock_offset") else timedelta()
    scan_time = _correct(fields, "scan_time", fields.time("scan_time"), offset)
    annul_time = fields.optional_time("annul_time")
    if annul_time is not None:
        annul_time = _correct(fields, "annul_time", annul_time, offset)
    verdict = fields.enum("verdict", VERDICTS)
    reason = None
    if verdict is Verdict.DENIED or message.denial_reason:
        reason = fields.enum("denial_reason", DENIAL_REASONS)
        if verdict is Verdict.ADMITTED:
            fields.violate("denial_reason", "is for denied scans")
    ticket_ids = fields.uuids("group_ticket_ids") if message.group_ticket_ids else []
    if len(set(ticket_ids)) < len(ticket_ids):
        fields.violate("group_ticket_ids", "names a ticket twice")
    return OfflineDecision(
        verdict, reason, scan_time, annul_time, clock_unknown=message.clock_unknown, group_ticket_ids=tuple(ticket_ids)
    )


def _correct(
    fields: Fields[scan_service_pb2.OfflineDecision], field: str, time: datetime, offset: timedelta
) -> datetime:
    try:
        return time + offset
    except OverflowError:
        fields.violate(field, "is not a time within the years 1 to 9999 once the clock is corrected")
        return EPOCH
