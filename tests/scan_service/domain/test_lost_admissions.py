"""Tests of the decision what becomes of a ticket whose check-in the ticket service has."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scan_service.domain.lost_admissions import ReportedCheckIn, mend, recover_check_in, replace_recovered
from tests.scanning.gates import CODES
from ticketing.admission.scans import Scan, ScanType
from ticketing.admission.tickets import AdmissionState, Ticket, TicketStatus, TicketType

SINCE = datetime(2030, 5, 1, 20, tzinfo=UTC)
NOW = SINCE + timedelta(minutes=30)
MINUTE = timedelta(minutes=1)
TICKET = Ticket(uuid.uuid4(), uuid.uuid4(), TicketType.STANDARD, TicketStatus.ACTIVE, None, None, 1, b"", None)


def scan_at(minutes: float, **values: object) -> Scan:
    """Return a check-in that was recorded some minutes after the restored moment."""
    time = SINCE + minutes * MINUTE
    made = recover_check_in(TICKET, time, time, CODES)
    usual = {"scan_id": uuid.uuid4(), "fingerprint": b"f" * 16, "device_id": "one", "offline": False}
    return replace(made, **(usual | values))  # type: ignore[arg-type]


def report(minutes: float | None, sequence: int) -> ReportedCheckIn:
    time = None if minutes is None else SINCE + minutes * MINUTE
    return ReportedCheckIn(TICKET.event_id, TICKET.ticket_id, time, sequence)


def known(*scans: Scan, sequence: int) -> Ticket:
    times = [scan.scan_time for scan in scans if scan.annul_time is None]
    return replace(TICKET, admission=AdmissionState(min(times, default=None), sequence=sequence))


# The scans that the database has with their sequence, the report, and the outcome: the minutes of the check-in that is
# taken back, the number of annulled ones, and the sequence.
IN = scan_at(-10)
ANNULLED = replace(scan_at(-10), annul_time=SINCE)
CASES = {
    "a lost check-in": ([], 0, report(5, 1), (5, 0, 1)),
    "a lost upload of an older scan": ([], 0, report(-60, 1), (-60, 0, 1)),
    "nothing lost": ([IN], 1, report(-10, 1), (None, 0, 1)),
    "a lost annulment": ([IN], 1, report(None, 2), (None, 1, 2)),
    "a lost annulment and another check-in": ([IN], 1, report(5, 3), (5, 1, 3)),
    "an annulment that is not reported yet": ([ANNULLED], 2, report(-10, 1), (None, 0, 3)),
    "a check-in that is not reported yet": ([IN], 3, report(None, 2), (None, 0, 4)),
    "an older report of the same sequence": ([scan_at(20)], 1, report(-60, 1), (None, 0, 2)),
    "a report from just before the restored moment": ([scan_at(20)], 1, report(-1, 1), (-1, 0, 2)),
    "a report that repeats the check-in": ([IN], 1, report(-10, 2), (None, 0, 2)),
    "a lost annulment of a check-in at the restored moment": ([scan_at(0)], 1, report(None, 2), (None, 1, 2)),
    "a check-in after the restore": ([scan_at(20)], 1, report(5, 1), (5, 0, 2)),
    "a check-in after the restore, and a lost annulment": ([scan_at(20)], 1, report(None, 2), (None, 0, 3)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_report_is_taken_back_where_it_is_newer(case) -> None:
    scans, sequence, reported, expected = case
    ticket = known(*scans, sequence=sequence)
    mended = mend(ticket, scans, reported, since=SINCE, now=NOW, codes=CODES)
    minutes = None if mended.recovered is None else (mended.recovered.scan_time - SINCE) / MINUTE
    assert (minutes, len(mended.annulled), mended.admission.sequence) == expected


def test_a_repetition_takes_nothing_back_again() -> None:
    first = mend(TICKET, [], report(5, 1), since=SINCE, now=NOW, codes=CODES)
    ticket = replace(TICKET, admission=first.admission)
    again = mend(ticket, first.scans, report(5, 1), since=SINCE, now=NOW + MINUTE, codes=CODES)
    assert (again.recovered, again.annulled, again.admission) == (None, [], first.admission)
    # Two processes at once make the same record.
    assert first.recovered is not None
    assert recover_check_in(TICKET, SINCE + 5 * MINUTE, NOW, CODES).scan_id == first.recovered.scan_id


def test_the_gates_scan_replaces_the_recovered_one_of_its_time() -> None:
    recovered = recover_check_in(TICKET, SINCE + 5 * MINUTE, NOW, CODES)
    own, other = scan_at(5), scan_at(6)
    assert replace_recovered([recovered, own, other]) == ([own, other], [recovered])
    assert replace_recovered([recovered, other]) == ([recovered, other], [])
    check_out = replace(own, scan_type=ScanType.CHECK_OUT)
    assert replace_recovered([recovered, check_out]) == ([recovered, check_out], [])


def test_an_annulled_recovered_check_in_stays_annulled() -> None:
    recovered = replace(recover_check_in(TICKET, SINCE + 5 * MINUTE, NOW, CODES), annul_time=NOW)
    [kept], removed = replace_recovered([recovered, scan_at(5)])
    assert (kept.annul_time, removed) == (NOW, [recovered])


@pytest.mark.parametrize(
    ("minutes", "sequence", "may_be_lost"),
    [(5, 1, False), (6, 1, True), (None, 1, True), (5, 2, True), (5, 0, False), (6, 0, True)],
)
def test_a_report_may_be_lost_if_it_is_another_or_newer(minutes, sequence, may_be_lost) -> None:
    admission = AdmissionState(SINCE + 5 * MINUTE, sequence=1)
    assert report(minutes, sequence).may_be_lost(admission) is may_be_lost


def test_a_recovered_check_in_names_no_gate_and_counts_as_offline() -> None:
    recovered = recover_check_in(TICKET, SINCE, NOW, CODES)
    assert (recovered.location, recovered.scanner_user_id, recovered.offline) == ("", "", True)
    assert recovered.is_recovered
