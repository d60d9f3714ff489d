"""The records of scans in the device's file: the service's answers, and the decisions made without a connection."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import Gate, GroupAdmission, ScanType
from ticketing.admission.tickets import AdmissionState, CheckIn, Ticket
from ticketing.admission.tokens import Token, read_token
from ticketing.gate.admission_store import OwnAdmission
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import (
    DENIAL_REASONS,
    SCAN_TYPES,
    TICKET_TYPES,
    admitted_tickets,
    gate_message,
    group_message,
    previous_message,
    time_of,
    timestamp,
    token_ticket_message,
)
from ticketing.gate.offline_decision import DeviceDecision, DeviceRecords, DeviceScan, decide_offline
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The admission state of each ticket before a scan; a ticket of which the device has no record is missing.
AdmissionsBefore: TypeAlias = Mapping[UUID, AdmissionState]


class ScanRecords:
    """The records of the scans at one gate. Every method may raise sqlite3.Error, and then stores nothing."""

    def __init__(self, gate: Gate, scan_type: ScanType, store: Store, clock: DeviceClock) -> None:
        self._gate = gate
        self._scan_type = scan_type
        self._store = store
        self._clock = clock

    def save_answer(self, scan: scan_pb2.Scan, text: str) -> AdmissionsBefore:
        """Store the service's answer to a scanned text, so that the device denies a second scan offline.

        An admitted scan is kept, because the service may lose it. Return the admission states before the scan.
        """
        with self._store.transaction():
            before = self._admissions_before(scan)
            kept = scan_pb2.Scan()
            kept.CopyFrom(scan)
            kept.code = sanitize_text(scan.code)
            self._store.save_answer(kept)
            if scan.verdict == scan_pb2.VERDICT_ADMITTED and not scan.HasField("annul_time"):
                self._store.keep(self._upload_of(scan, text), self._clock())
                for ticket_id, scan_id in admitted_tickets(scan).items():
                    check_in = CheckIn(scan_id, time_of(scan.scan_time), scan.location)
                    if scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_IN:
                        after = AdmissionState(check_in_time=check_in.time, latest_check_in=check_in, inside=True)
                        self._save_admission(scan, ticket_id, after, self._clock())
                    elif scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT:
                        after = replace(before.get(ticket_id, AdmissionState()), inside=False)
                        self._save_admission(scan, ticket_id, after, self._clock())
        return before

    def decide_offline(
        self, attempt: pb.ScanAttempt, scan_id: UUID, *, may_be_recorded: bool
    ) -> tuple[scan_pb2.Scan, AdmissionsBefore, str]:
        """Decide a scan, and store the decision for delivery.

        The file keeps tokens, which the service verifies, and a text that the service may have recorded: an upload needs
        the same text.

        Returns:
            The scan, the admission states before it, and a note for the person at the gate.
        """
        now = self._clock()
        token = read_token(attempt.code)
        device_scan = DeviceScan(scan_id, attempt.code, token, self._scan_type, self._gate, attempt.group_count)
        with self._store.transaction():
            records = self._records_of(device_scan)
            device_decision = decide_offline(device_scan, records, now, self._clock.earliest)
            if device_decision.presented is not None and records.ticket is None:
                message = token_ticket_message(device_decision.presented)
                self._store.add_token_ticket(device_decision.presented.ticket.event_id, message)
            scan = _scan_message(device_scan, device_decision, now)
            scan.doubtful_time = not self._clock.is_known
            before = self._admissions_before(scan)
            self._store.save_answer(scan)
            if device_decision.decision.admission is not None:
                self._save_admission(scan, UUID(scan.ticket_id), device_decision.decision.admission, None)
            for ticket, admission in () if device_decision.group is None else device_decision.group.further:
                self._save_admission(scan, ticket.ticket_id, admission, None)
            attempt.offline.CopyFrom(self._offline_message(scan))
            if not may_be_recorded and not isinstance(device_scan.credential, Token):
                attempt.code = sanitize_text(attempt.code)
            self._store.enqueue(attempt, self._clock_of(scan))
            self._store.save_clock(self._clock)
        return scan, before, device_decision.note

    def annulled_offline(self, scan: scan_pb2.Scan) -> scan_pb2.Scan:
        """Return a scan, annulled now without the service."""
        annulled = scan_pb2.Scan()
        annulled.CopyFrom(scan)
        annulled.annul_time.CopyFrom(timestamp(self._clock()))
        return annulled

    def save_annulment(self, scan: scan_pb2.Scan, before: AdmissionsBefore, undelivered_text: str | None) -> None:
        """Store an annulled scan and the admission states before it.

        `undelivered_text` is the scanned text where an upload has to deliver the annulment; None: the service has
        annulled the scan.
        """
        with self._store.transaction():
            if undelivered_text is not None:
                attempt = self._upload_of(scan, undelivered_text)
                attempt.offline.annul_time.CopyFrom(scan.annul_time)
                self._store.enqueue(attempt, self._clock_of(scan))
            self._store.annul_kept(scan.scan_id, time_of(scan.annul_time))
            recorded_time = self._clock() if undelivered_text is None else None
            for ticket_id in admitted_tickets(scan):
                self._save_admission(scan, ticket_id, before.get(ticket_id, AdmissionState()), recorded_time)

    def group_of(self, token: Token) -> Sequence[Ticket]:
        """Return the tickets of a token's group; none if the replica does not have its purchase."""
        ticket = self._store.ticket(token.event_id, token.ticket_id)
        if ticket is None or ticket.purchase_id is None:
            return ()
        return self._store.group(token.event_id, ticket.purchase_id)

    def _admissions_before(self, scan: scan_pb2.Scan) -> AdmissionsBefore:
        """Return the admission states before a scan.

        The replica may contain the scan already. Then the state before a check-in is unknown, and a person who checks
        out was inside.
        """
        before = dict[UUID, AdmissionState]()
        for ticket_id, scan_id in admitted_tickets(scan).items():
            ticket = self._store.ticket(UUID(scan.event_id), ticket_id)
            own = self._store.own_admission(UUID(scan.event_id), ticket_id)
            state = own or (None if ticket is None else ticket.admission)
            if state is None or (state.latest_check_in is not None and state.latest_check_in.scan_id == scan_id):
                continue
            is_exit = scan.scan_type == scan_pb2.SCAN_TYPE_CHECK_OUT
            before[ticket_id] = replace(state, inside=True) if is_exit else state
        return before

    def _save_admission(
        self, scan: scan_pb2.Scan, ticket_id: UUID, admission: AdmissionState, recorded_time: datetime | None
    ) -> None:
        own = OwnAdmission(UUID(scan.event_id), ticket_id, admission, scan.scan_id, time_of(scan.scan_time))
        self._store.save_own_admission(own, recorded_time)

    def _records_of(self, scan: DeviceScan) -> DeviceRecords:
        rules = self._store.rules(self._gate.event_id)
        token = scan.credential
        if not isinstance(token, Token):
            return DeviceRecords(rules)
        key = (token.event_id, token.ticket_id)
        group = self.group_of(token) if scan.group_count else ()
        return DeviceRecords(rules, self._store.ticket(*key), self._store.own_admission(*key), group)

    def _upload_of(self, scan: scan_pb2.Scan, text: str) -> pb.ScanAttempt:
        """Return a shown scan as an upload has it."""
        return pb.ScanAttempt(
            scan_id=scan.scan_id,
            code=text,
            scan_type=SCAN_TYPES[self._scan_type],
            offline=self._offline_message(scan),
            group_count=scan.group.count,
        )

    def _offline_message(self, scan: scan_pb2.Scan) -> pb.OfflineDecision:
        return pb.OfflineDecision(
            verdict=scan.verdict,
            # The device's times are those of the service's clock, so they need no offset.
            scan_time=scan.scan_time,
            denial_reason=scan.denial_reason,
            gate=gate_message(self._gate),
            clock_unknown=scan.doubtful_time,
            group_ticket_ids=scan.group.ticket_ids[1:],
        )

    def _clock_of(self, scan: scan_pb2.Scan) -> DeviceClock | None:
        """Return the clock where a scan has its estimate of the time, which it may know later."""
        return self._clock if scan.doubtful_time and not self._clock.is_known else None


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
    if device_scan.group_count:
        group = device_decision.group
        scan.group.CopyFrom(group_message(GroupAdmission(device_scan.group_count) if group is None else group.group))
    return scan
