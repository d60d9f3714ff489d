"""One scan at the gate, from the scanned text to the answer shown.

A power cut loses no scan: the device stores the request, sends it, stores the answer, shows it, and deletes both. If
the answer was never shown and the same text is scanned again, the device repeats the request under its scan_id.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from hashlib import sha256
from time import monotonic
from typing import Final
from uuid import UUID

from ticketing.admission.codes import read_code
from ticketing.admission.days import zone_of
from ticketing.admission.look_up_passes import is_pass
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import Gate, ScanType
from ticketing.admission.tickets import AdmissionState, CheckIn
from ticketing.admission.tokens import Token, read_token
from ticketing.gate.admission_store import OwnAdmission
from ticketing.gate.connection import ANSWER_SECONDS, Connection
from ticketing.gate.connection_status import REFUSED_NOTE
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import (
    DENIAL_REASONS,
    SCAN_TYPES,
    TICKET_TYPES,
    Answer,
    answer_of,
    gate_message,
    previous_message,
    time_of,
    timestamp,
    token_ticket_message,
)
from ticketing.gate.offline_decision import DeviceDecision, DeviceRecords, DeviceScan, decide_offline
from ticketing.gate.store import Store
from ticketing.gate.unstored import Unstored
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The note of a denial while the disk fails and the service does not answer.
CANNOT_STORE: Final = "this device cannot store an admission"
# A person without an answer tries again soon; after this time the same text is another scan.
REPEAT_WITHIN: Final = timedelta(minutes=2)
# The service annuls no scan that is older.
UNDO_SECONDS: Final = 15 * 60
NOTHING_TO_UNDO: Final = "NOTHING TO ANNUL: nobody was admitted here since the last annulment"
TOO_LATE_TO_UNDO: Final = "NOT ANNULLED: the last admission is older than 15 minutes"

ShowAnswer = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class LastScan:
    """The scan admitted last, which can be annulled."""

    scan: scan_pb2.Scan
    text: str
    # A time of monotonic().
    time: float
    # The ticket's admission state before the scan; None if the device has no record of it.
    before: AdmissionState | None


class Device:
    """The gate device: it answers one scan after the other."""

    def __init__(
        self, gate: Gate, scan_type: ScanType, store: Store, connection: Connection, clock: DeviceClock
    ) -> None:
        self._gate = gate
        self._scan_type = scan_type
        self._store = store
        self._connection = connection
        self._clock = clock
        self._unstored = Unstored()
        self._last: LastScan | None = None

    def scan(self, text: str, show: ShowAnswer) -> Answer:
        """Answer a scanned text, and show the answer."""
        attempt = pb.ScanAttempt(code=text, scan_type=SCAN_TYPES[self._scan_type])
        # The file finds a request by its digest: the text may be a code.
        question = pb.ScanTicketRequest(gate=gate_message(self._gate), attempt=attempt)
        request = sha256(question.SerializeToString()).digest()
        try:
            answer = self._answer(attempt, request)
        except sqlite3.Error:
            # Only the service could record an admission now, and it did not answer. The next scan of this text repeats
            # the request under its id.
            answer = self._denial(text, f"{CANNOT_STORE}: {self._store.problem}")
            show(answer)
            return answer
        show(answer)
        if answer.scan_id:
            self._finish(answer.scan_id, request)
        return answer

    def _answer(self, attempt: pb.ScanAttempt, request: bytes) -> Answer:
        if self._connection.is_refused():
            return self._denial(attempt.code, REFUSED_NOTE)
        scan_id, scan, may_be_recorded = self._begin(request)
        note = ""
        if scan is None:
            attempt.scan_id = str(scan_id)
            if not self._must_decide_offline(attempt.code) and self._connection.is_reachable():
                may_be_recorded = True
                scan = self._connection.request_verdict(attempt)
            if scan is not None:
                self._save_shown_answer(scan, attempt.code)
            elif self._connection.is_refused():
                return self._denial(attempt.code, REFUSED_NOTE)
            else:
                scan, note = self._decide_offline(attempt, scan_id, may_be_recorded=may_be_recorded)
        return answer_of(scan, note, self.zone())

    def _begin(self, request: bytes) -> tuple[UUID, scan_pb2.Scan | None, bool]:
        """Store a request; return its scan_id, the answer that was not shown, and whether the request is an old one.

        While the disk fails, the request stands in memory alone, and only the service can admit.
        """
        try:
            self._store_what_failed()
            unfinished = self._store.unfinished_scan(request, self._clock() - REPEAT_WITHIN)
            if unfinished is not None:
                return *unfinished, True
            scan_id = self._unstored.scan_id(request)
            self._store.begin_scan(scan_id, request, self._clock())
        except sqlite3.Error:
            return self._unstored.scan_id(request), None, True
        self._unstored.forget(request)
        return scan_id, None, False

    def _save_shown_answer(self, scan: scan_pb2.Scan, text: str) -> None:
        """Store the service's verdict; the service has recorded it, so it is shown even if the disk fails."""
        try:
            self._save_answer(scan, text)
        except sqlite3.Error:
            self._unstored.add_answer(scan, text)
            self._remember(scan, text, None)

    def _finish(self, scan_id: str, request: bytes) -> None:
        self._unstored.forget(request)
        try:
            self._store.finish_scan(scan_id)
        except sqlite3.Error:
            self._unstored.shown.add(scan_id)

    def _store_what_failed(self) -> None:
        """Store what an earlier scan could not store, before this scan relies on the file."""
        if not (self._unstored.answers or self._unstored.shown):
            return
        last = self._last
        with self._store.transaction():
            for scan, text in self._unstored.answers.values():
                self._save_answer(scan, text)
            for scan_id in self._unstored.shown:
                self._store.finish_scan(scan_id)
        self._last = last
        self._unstored.answers.clear()
        self._unstored.shown.clear()

    def annul_last(self) -> Answer:
        """Annul the scan admitted last because the person did not pass.

        If there is none, or the service refuses, the answer says so without opening a turnstile.
        """
        last, self._last = self._last, None
        if last is None:
            return self.refuse_undo(NOTHING_TO_UNDO)
        if monotonic() - last.time > UNDO_SECONDS:
            return self.refuse_undo(TOO_LATE_TO_UNDO)
        scan, attempt = last.scan, None
        annulled = None if self._store.is_queued(scan.scan_id) else self._connection.annul(scan.scan_id)
        if isinstance(annulled, pb.Rejection):
            return replace(answer_of(scan, f"NOT ANNULLED: {annulled.message}", self.zone()), admitted=False)
        if annulled is None:
            # The service has no record of the scan or is unreachable: an upload delivers the annulment.
            annulled = scan_pb2.Scan()
            annulled.CopyFrom(scan)
            annulled.annul_time.CopyFrom(timestamp(self._clock()))
            offline = self._offline_message(scan)
            offline.annul_time.CopyFrom(annulled.annul_time)
            scan_type = SCAN_TYPES[self._scan_type]
            attempt = pb.ScanAttempt(scan_id=scan.scan_id, code=last.text, scan_type=scan_type, offline=offline)
        try:
            with self._store.transaction():
                if attempt is not None:
                    self._store.enqueue(attempt, self._clock_of(scan))
                self._save_admission(annulled, last.before or AdmissionState(), None if attempt else self._clock())
        except sqlite3.Error:
            if attempt is not None:
                self._last = last
                return self._denial(last.text, f"not annulled, {CANNOT_STORE}: {self._store.problem}")
        return answer_of(annulled, zone=self.zone())

    def time(self) -> datetime:
        """Return the time by the service's clock, as far as the device knows it."""
        return self._clock()

    def refuse_undo(self, note: str) -> Answer:
        """Return the answer to an undo that annuls nothing."""
        return replace(self._denial("", note), is_scan=False)

    def _must_decide_offline(self, text: str) -> bool:
        """Return whether the service lacks an admission of this ticket, so that it could admit the ticket again.

        For a look-up pass or a typed code, wait until the decisions of this device are delivered.
        """
        token = read_token(text)
        if isinstance(token, Token):
            return self._store.has_unrecorded_admission(token.event_id, token.ticket_id)
        if is_pass(text) or read_code(text) is not None:
            # Only the service can find the ticket of a pass or a code, so the service first needs every scan of this device.
            self._connection.wait_for_delivery(ANSWER_SECONDS)
        return False

    def _save_answer(self, scan: scan_pb2.Scan, text: str) -> None:
        """Store the service's answer and the new admission state, so that the device denies a second scan offline."""
        with self._store.transaction():
            before = self._admission_before(scan)
            kept = scan_pb2.Scan()
            kept.CopyFrom(scan)
            kept.code = sanitize_text(scan.code)
            self._store.save_answer(kept)
            if scan.verdict == scan_pb2.VERDICT_ADMITTED and not scan.HasField("annul_time"):
                check_in = CheckIn(UUID(scan.scan_id), time_of(scan.scan_time), scan.location)
                if scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_IN:
                    after = AdmissionState(check_in_time=check_in.time, latest_check_in=check_in, inside=True)
                    self._save_admission(scan, after, self._clock())
                elif scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT:
                    self._save_admission(scan, replace(before or AdmissionState(), inside=False), self._clock())
        self._remember(scan, text, before)

    def _admission_before(self, scan: scan_pb2.Scan) -> AdmissionState | None:
        """Return the ticket's admission state before a scan; None if the device has no record of it.

        The replica may contain the scan already. Then the state before a check-in is unknown, and a person who checks
        out was inside.
        """
        if not scan.ticket_id:
            return None
        event_id, ticket_id = UUID(scan.event_id), UUID(scan.ticket_id)
        ticket = self._store.ticket(event_id, ticket_id)
        state = self._store.own_admission(event_id, ticket_id) or (None if ticket is None else ticket.admission)
        if state is None or (state.latest_check_in is not None and str(state.latest_check_in.scan_id) == scan.scan_id):
            return None
        return replace(state, inside=True) if scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT else state

    def _save_admission(self, scan: scan_pb2.Scan, admission: AdmissionState, recorded_time: datetime | None) -> None:
        own = OwnAdmission(UUID(scan.event_id), UUID(scan.ticket_id), admission, scan.scan_id, time_of(scan.scan_time))
        self._store.save_own_admission(own, recorded_time)

    def _decide_offline(
        self, attempt: pb.ScanAttempt, scan_id: UUID, *, may_be_recorded: bool
    ) -> tuple[scan_pb2.Scan, str]:
        """Decide a scan, and store the decision for delivery; return the scan and a note for the person at the gate.

        The file keeps tokens, which the service verifies, and a text that the service may have recorded: an upload needs
        the same text.
        """
        now = self._clock()
        device_scan = DeviceScan(scan_id, attempt.code, read_token(attempt.code), self._scan_type, self._gate)
        with self._store.transaction():
            records = self._records_of(device_scan)
            device_decision = decide_offline(device_scan, records, now, self._clock.earliest)
            if device_decision.presented is not None and records.ticket is None:
                ticket = token_ticket_message(device_decision.presented)
                self._store.add_token_ticket(device_decision.presented.ticket.event_id, ticket)
            scan = _scan_message(device_scan, device_decision, now)
            scan.doubtful_time = not self._clock.is_known
            before = self._admission_before(scan)
            self._store.save_answer(scan)
            if device_decision.decision.admission is not None:
                self._save_admission(scan, device_decision.decision.admission, None)
            attempt.offline.CopyFrom(self._offline_message(scan))
            if not may_be_recorded and not isinstance(device_scan.credential, Token):
                attempt.code = sanitize_text(attempt.code)
            self._store.enqueue(attempt, self._clock_of(scan))
            self._store.save_clock(self._clock)
        self._remember(scan, attempt.code, before)
        return scan, device_decision.note

    def _records_of(self, scan: DeviceScan) -> DeviceRecords:
        rules = self._store.rules(self._gate.event_id)
        token = scan.credential
        if not isinstance(token, Token):
            return DeviceRecords(rules)
        key = (token.event_id, token.ticket_id)
        return DeviceRecords(rules, self._store.ticket(*key), self._store.own_admission(*key))

    def _offline_message(self, scan: scan_pb2.Scan) -> pb.OfflineDecision:
        return pb.OfflineDecision(
            verdict=scan.verdict,
            # The device's times are those of the service's clock, so they need no offset.
            scan_time=scan.scan_time,
            denial_reason=scan.denial_reason,
            gate=gate_message(self._gate),
            clock_unknown=scan.doubtful_time,
        )

    def _clock_of(self, scan: scan_pb2.Scan) -> DeviceClock | None:
        """Return the clock where a scan has its estimate of the time, which it may know later."""
        return self._clock if scan.doubtful_time and not self._clock.is_known else None

    def _remember(self, scan: scan_pb2.Scan, text: str, before: AdmissionState | None) -> None:
        if answer_of(scan).may_pass:
            self._last = LastScan(scan, text, monotonic(), before)

    def _denial(self, text: str, note: str) -> Answer:
        """Return a denial without a record, for the reason in `note`."""
        scan = scan_pb2.Scan(code=sanitize_text(text), verdict=scan_pb2.VERDICT_DENIED, offline=True)
        scan.scan_time.CopyFrom(timestamp(self._clock()))
        return replace(answer_of(scan, note, self.zone()), reason=None)

    def zone(self) -> tzinfo | None:
        """Return the time zone of the event; None if the device does not have the event or cannot read it."""
        with suppress(sqlite3.Error):
            if (rules := self._store.rules(self._gate.event_id)) is not None:
                return zone_of(rules.event.time_zone)
        return None


def _scan_message(device_scan: DeviceScan, device_decision: DeviceDecision, now: datetime) -> scan_pb2.Scan:
    decision = device_decision.decision
    scan = scan_pb2.Scan(
        scan_id=str(device_scan.scan_id),
        code=sanitize_text(device_scan.text),
        scan_type=SCAN_TYPES[device_scan.scan_type],
        verdict=scan_pb2.VERDICT_DENIED if decision.reason else scan_pb2.VERDICT_ADMITTED,
        scan_time=timestamp(now),
        location=device_scan.gate.location,
        offline=True,
    )
    if decision.reason is not None:
        scan.denial_reason = DENIAL_REASONS[decision.reason]
    if decision.previous is not None:
        scan.previous.CopyFrom(previous_message(decision.previous))
    if (presented := device_decision.presented) is not None:
        scan.ticket_id, scan.event_id = str(presented.ticket.ticket_id), str(presented.ticket.event_id)
        if presented.ticket_type is not None:
            scan.ticket_type = TICKET_TYPES[presented.ticket_type]
    return scan
