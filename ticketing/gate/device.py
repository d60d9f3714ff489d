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
from ticketing.admission.tokens import Token, read_token
from ticketing.gate.connection import ANSWER_SECONDS, Connection
from ticketing.gate.connection_status import REFUSED_NOTE
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import SCAN_TYPES, Answer, answer_of, gate_message, timestamp
from ticketing.gate.scan_records import AdmissionsBefore, ScanRecords
from ticketing.gate.store import Store
from ticketing.gate.unstored import Unstored
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The note of a denial while the disk fails and the service does not answer.
CANNOT_STORE: Final = "this device cannot store an admission"
# The note of a typed code or a look-up pass that the service has not decided about.
NOT_CHECKED: Final = "NOT CHECKED, scan again"
# The note of an answer of a service of the version before, which ignores the count.
NO_GROUPS: Final = "for one person: the service does not know groups yet, scan each ticket"
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
    before: AdmissionsBefore


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
        self._records = ScanRecords(gate, scan_type, store, clock)
        self._unstored = Unstored()
        self._last: LastScan | None = None

    @property
    def may_scan_groups(self) -> bool:
        """Return whether this gate admits groups: people leave one by one."""
        return self._scan_type is ScanType.CHECK_IN

    def scan(self, text: str, show: ShowAnswer, group_count: int = 0) -> Answer:
        """Answer a scanned text, and show the answer; `group_count` people of a group check in, 0 for a single ticket."""
        with self._store.scan_in_progress():
            return self._scan(text, show, group_count)

    def _scan(self, text: str, show: ShowAnswer, group_count: int) -> Answer:
        attempt = pb.ScanAttempt(code=text, scan_type=SCAN_TYPES[self._scan_type], group_count=group_count)
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
            if not self._must_decide_offline(attempt) and self._connection.is_reachable():
                may_be_recorded = True
                answer = self._connection.request_verdict(attempt)
                if isinstance(answer, pb.Rejection):
                    if answer.reason == error_reason_pb2.ERROR_REASON_OVERLOADED and not _is_token(attempt):
                        # Only the service can decide. The next scan of this text repeats the request under its id.
                        return self._denial(attempt.code, f"{NOT_CHECKED}: {answer.message}".rstrip(": "))
                else:
                    scan = answer
            if scan is not None:
                self._save_shown_answer(scan, attempt.code)
                if attempt.group_count and not scan.HasField("group"):
                    note = NO_GROUPS
            elif self._connection.is_refused():
                return self._denial(attempt.code, REFUSED_NOTE)
            else:
                scan, before, note = self._records.decide_offline(attempt, scan_id, may_be_recorded=may_be_recorded)
                self._remember(scan, attempt.code, before)
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
        before: AdmissionsBefore = {}
        try:
            before = self._records.save_answer(scan, text)
        except sqlite3.Error:
            self._unstored.add_answer(scan, text)
        self._remember(scan, text, before)

    def _finish(self, scan_id: str, request: bytes) -> None:
        self._unstored.forget(request)
        try:
            self._store.finish_scan(scan_id)
        except sqlite3.Error:
            self._unstored.add_shown(scan_id)

    def _store_what_failed(self) -> None:
        """Store what an earlier scan could not store, before this scan relies on the file."""
        if not (self._unstored.answers or self._unstored.shown):
            return
        with self._store.transaction():
            for scan, text in self._unstored.answers.values():
                self._records.save_answer(scan, text)
            for scan_id in self._unstored.shown:
                self._store.finish_scan(scan_id)
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
        scan, undelivered_text = last.scan, None
        annulled = None if self._store.is_queued(scan.scan_id) else self._connection.annul(scan.scan_id)
        if isinstance(annulled, pb.Rejection):
            return replace(answer_of(scan, f"NOT ANNULLED: {annulled.message}", self.zone()), admitted=False)
        if annulled is None:
            # The service has no record of the scan or is unreachable: an upload delivers the annulment.
            annulled, undelivered_text = self._records.annulled_offline(scan), last.text
        try:
            self._records.save_annulment(annulled, last.before, undelivered_text)
        except sqlite3.Error:
            if undelivered_text is not None:
                self._last = last
                return self._denial(last.text, f"not annulled, {CANNOT_STORE}: {self._store.problem}")
        return answer_of(annulled, zone=self.zone())

    def time(self) -> datetime:
        """Return the time by the service's clock, as far as the device knows it."""
        return self._clock()

    def refuse_undo(self, note: str) -> Answer:
        """Return the answer to an undo that annuls nothing."""
        return replace(self._denial("", note), is_scan=False)

    def _must_decide_offline(self, attempt: pb.ScanAttempt) -> bool:
        """Return whether the service lacks an admission of this ticket, so that it could admit the ticket again.

        For a look-up pass or a typed code, wait until the decisions of this device are delivered; for a group too, whose
        other tickets may be among them.
        """
        token = read_token(attempt.code)
        if isinstance(token, Token) and attempt.group_count:
            if self._store.queue_length():
                self._connection.wait_for_delivery(ANSWER_SECONDS)
            group = {token.ticket_id, *(ticket.ticket_id for ticket in self._records.group_of(token))}
            return any(self._store.has_unrecorded_admission(token.event_id, ticket_id) for ticket_id in group)
        if isinstance(token, Token):
            return self._store.has_unrecorded_admission(token.event_id, token.ticket_id)
        if is_pass(attempt.code) or read_code(attempt.code) is not None:
            # Only the service can find the ticket of a pass or a code, so the service first needs every scan of this device.
            self._connection.wait_for_delivery(ANSWER_SECONDS)
        return False

    def _remember(self, scan: scan_pb2.Scan, text: str, before: AdmissionsBefore) -> None:
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


def _is_token(attempt: pb.ScanAttempt) -> bool:
    return isinstance(read_token(attempt.code), Token)
