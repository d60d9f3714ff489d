"""One scan at the gate, from what was read to what is shown.

The order is what survives a power cut: the question is written down, then asked, then the answer is written down, then
shown, then forgotten. A question whose answer nobody was shown is taken up again, under its id, when the same is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from ticketing.admission.codes import read_code
from ticketing.admission.decision import Decision
from ticketing.admission.scans import Gate, ScanType, sanitize_text
from ticketing.admission.tickets import Admission, CheckIn
from ticketing.admission.tokens import Token, read_token
from ticketing.chassis.clock import Clock
from ticketing.chassis.ids import new_id
from ticketing.gate.connection import ANSWER_SECONDS, Connection
from ticketing.gate.decide import Known, Question, Ruling, decide_alone
from ticketing.gate.messages import (
    DENIAL_REASONS,
    SCAN_TYPES,
    TICKET_TYPES,
    Answer,
    answer_of,
    gate_message,
    previous_message,
    proven_message,
    time_of,
    timestamp,
)
from ticketing.gate.store import Own, Store
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# Somebody who was not answered tries again within moments; later it is another person.
TAKEN_UP_WITHIN: Final = timedelta(minutes=2)
REFUSED_NOTE: Final = "this device may not scan (any more)"

Show = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class Last:
    """The scan shown last, for taking it back."""

    scan: scan_pb2.Scan
    text: str
    # How the ticket stood before.
    before: Admission | None


class Device:
    """Answers scans.

    Args:
        gate: where it is.
        scan_type: what passing means.
        store: the device's file.
        connection: to the scan service.
        clock: the device's own, which may be wrong.
    """

    def __init__(self, gate: Gate, scan_type: ScanType, store: Store, connection: Connection, clock: Clock) -> None:
        self._gate = gate
        self._scan_type = scan_type
        self._store = store
        self._connection = connection
        self._clock = clock
        self._last: Last | None = None

    def scan(self, text: str, show: Show) -> Answer:
        """Answer what was read, and show it."""
        if self._connection.refused():
            answer = self._refused(text)
            show(answer)
            return answer
        attempt = pb.ScanAttempt(code=text, scan_type=SCAN_TYPES[self._scan_type])
        question = pb.ScanTicketRequest(gate=gate_message(self._gate), attempt=attempt).SerializeToString()
        unfinished = self._store.unfinished(question, self._clock() - TAKEN_UP_WITHIN)
        scan_id, scan = unfinished or (new_id(), None)
        if unfinished is None:
            self._store.begin(scan_id, question, self._clock())
        note = ""
        if scan is None:
            attempt.scan_id = str(scan_id)
            scan = None if self._knows_better(text) else self._connection.ask(attempt)
            if scan is not None:
                self._keep(scan, text)
            elif self._connection.refused():
                answer = self._refused(text)
                show(answer)
                return answer
            else:
                scan, note = self._alone(attempt, scan_id)
        answer = answer_of(scan, note)
        show(answer)
        self._store.shown(scan.scan_id)
        return answer

    def take_back(self) -> Answer | None:
        """Annul the scan shown last, whose person did not pass; None where it admitted nobody."""
        last, self._last = self._last, None
        if last is None:
            return None
        scan = last.scan
        if self._store.is_queued(scan.scan_id) or (annulled := self._connection.annul(scan.scan_id)) is None:
            # Decided here, or recorded there and out of reach now: what was shown is told later, with its end.
            annulled = scan_pb2.Scan()
            annulled.CopyFrom(scan)
            annulled.annul_time.CopyFrom(timestamp(self._service_time()))
            offline = self._offline(scan)
            offline.annul_time.CopyFrom(timestamp(self._clock()))
            kind = SCAN_TYPES[self._scan_type]
            attempt = pb.ScanAttempt(scan_id=scan.scan_id, code=last.text, scan_type=kind, offline=offline)
            self._take_down(annulled, last, attempt)
        else:
            self._take_down(annulled, last, None)
        return answer_of(annulled)

    def _knows_better(self, text: str) -> bool:
        """Tell whether the service has not been told of a scan of this ticket yet: it would let it in again."""
        token = read_token(text)
        if isinstance(token, Token):
            return self._store.is_unsettled(token.event_id, token.ticket_id)
        if read_code(text) is not None:
            # Whose code it is, only the service knows: it has to know the rest as well.
            self._connection.deliver(ANSWER_SECONDS)
        return False

    def _take_down(self, annulled: scan_pb2.Scan, last: Last, attempt: pb.ScanAttempt | None) -> None:
        """Write down that a scan does not stand."""
        with self._store.transaction():
            if attempt is not None:
                self._store.enqueue(attempt)
            self._keep_own(annulled, last.before or Admission(), None if attempt else self._clock())

    def _keep(self, scan: scan_pb2.Scan, text: str) -> None:
        """Write down the service's answer, so that this device alone would not let the same person in again."""
        with self._store.transaction():
            before = self._before(scan)
            self._store.answered(scan)
            if scan.verdict == scan_pb2.VERDICT_ADMITTED and not scan.HasField("annul_time"):
                entry = CheckIn(UUID(scan.scan_id), time_of(scan.scan_time), scan.location)
                if scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_IN:
                    after = Admission(check_in_time=entry.time, latest_check_in=entry, inside=True)
                    self._keep_own(scan, after, self._clock())
                elif scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT:
                    stood = before or Admission()
                    after = Admission(check_in_time=stood.check_in_time, latest_check_in=stood.latest_check_in, inside=False)
                    self._keep_own(scan, after, self._clock())
        self._remember(scan, text, before)

    def _before(self, scan: scan_pb2.Scan) -> Admission | None:
        """How the ticket stood before an admitted scan, also where the copy has told of the scan already."""
        if not scan.ticket_id:
            return None
        event_id, ticket_id = UUID(scan.event_id), UUID(scan.ticket_id)
        ticket = self._store.ticket(event_id, ticket_id)
        found = self._store.own(event_id, ticket_id) or (None if ticket is None else ticket.admission)
        if found is None or (found.latest_check_in is not None and str(found.latest_check_in.scan_id) == scan.scan_id):
            return None
        return replace(found, inside=True) if scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT else found

    def _keep_own(self, scan: scan_pb2.Scan, admission: Admission, settled: datetime | None) -> None:
        own = Own(UUID(scan.event_id), UUID(scan.ticket_id), admission, scan.scan_id, time_of(scan.scan_time))
        self._store.keep_own(own, settled)

    def _alone(self, attempt: pb.ScanAttempt, scan_id: UUID) -> tuple[scan_pb2.Scan, str]:
        """Decide, and write the decision down."""
        now = self._service_time()
        question = Question(scan_id, attempt.code, read_token(attempt.code), self._scan_type, self._gate)
        with self._store.transaction():
            known = self._known(question)
            ruling = decide_alone(question, known, now)
            if (shown := ruling.shown) is not None and known.ticket is None:
                self._store.add_proven(shown.ticket.event_id, proven_message(shown))
            scan = self._scan(question, ruling, now)
            before = self._before(scan)
            self._store.answered(scan)
            if ruling.decision.admission is not None:
                self._keep_own(scan, ruling.decision.admission, None)
            attempt.offline.CopyFrom(self._offline(scan))
            self._store.enqueue(attempt)
        self._remember(scan, attempt.code, before)
        return scan, ruling.note

    def _known(self, question: Question) -> Known:
        rules = self._store.rules(self._gate.event_id)
        token = question.credential
        if not isinstance(token, Token):
            return Known(rules)
        key = (token.event_id, token.ticket_id)
        return Known(rules, self._store.ticket(*key), self._store.own(*key))

    def _scan(self, question: Question, ruling: Ruling, now: datetime) -> scan_pb2.Scan:
        decision: Decision = ruling.decision
        scan = scan_pb2.Scan(
            scan_id=str(question.scan_id),
            code=sanitize_text(question.text),
            scan_type=SCAN_TYPES[question.scan_type],
            verdict=scan_pb2.VERDICT_DENIED if decision.reason else scan_pb2.VERDICT_ADMITTED,
            scan_time=timestamp(now),
            location=question.gate.location,
            offline=True,
        )
        if decision.reason is not None:
            scan.denial_reason = DENIAL_REASONS[decision.reason]
        if decision.previous is not None:
            scan.previous.CopyFrom(previous_message(decision.previous))
        if (shown := ruling.shown) is not None:
            scan.ticket_id, scan.event_id = str(shown.ticket.ticket_id), str(shown.ticket.event_id)
            if shown.ticket_type is not None:
                scan.ticket_type = TICKET_TYPES[shown.ticket_type]
        return scan

    def _offline(self, scan: scan_pb2.Scan) -> pb.OfflineDecision:
        offset = Duration()
        offset.FromTimedelta(self._offset())
        return pb.OfflineDecision(
            verdict=scan.verdict,
            scan_time=timestamp(time_of(scan.scan_time) - self._offset()),
            denial_reason=scan.denial_reason,
            gate=gate_message(self._gate),
            clock_offset=offset,
        )

    def _remember(self, scan: scan_pb2.Scan, text: str, before: Admission | None) -> None:
        self._last = Last(scan, text, before) if answer_of(scan).green else None

    def _refused(self, text: str) -> Answer:
        scan = scan_pb2.Scan(code=sanitize_text(text), verdict=scan_pb2.VERDICT_DENIED, offline=True)
        scan.scan_time.CopyFrom(timestamp(self._service_time()))
        return answer_of(scan, REFUSED_NOTE)

    def _offset(self) -> timedelta:
        return timedelta(microseconds=float(self._store.setting("clock_offset") or 0))

    def _service_time(self) -> datetime:
        """The present time by the service's clock, as far as the device knows it."""
        return self._clock() + self._offset()
