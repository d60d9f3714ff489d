from dataclasses import replace

from tests.selling.rows import NOW
from ticket_service.domain.check_ins import CheckIn, CheckInConflict, ReportedTicket, judge, latest
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.ids import new_id

REPORT = CheckIn(new_id(), new_id(), NOW, 3)
KEY = (REPORT.event_id, REPORT.ticket_id)


def test_only_the_last_report_of_each_ticket_counts():
    newer = replace(REPORT, check_in_time=None, sequence=4)
    assert latest([REPORT, newer]) == latest([newer, REPORT]) == [newer]


def test_reports_are_sorted_in_the_lock_order():
    reports = [replace(REPORT, ticket_id=new_id()) for _ in range(5)]
    assert latest(reversed(reports)) == sorted(reports, key=lambda report: report.ticket_id)


def test_a_newer_report_is_applied():
    for status in (TicketStatus.ACTIVE, TicketStatus.BLOCKED):
        assert judge([REPORT], {KEY: ReportedTicket(status, 2)}) == ([REPORT], [])


def test_a_repeated_or_outdated_report_changes_nothing():
    assert judge([REPORT], {KEY: ReportedTicket(TicketStatus.ACTIVE, 3)}) == ([], [])
    assert judge([REPORT], {KEY: ReportedTicket(TicketStatus.ACTIVE, 9)}) == ([], [])


def test_a_check_in_of_a_cancelled_ticket_is_always_a_conflict():
    for status in (TicketStatus.CANCELLED, TicketStatus.REFUNDED):
        assert judge([REPORT], {KEY: ReportedTicket(status, 9)}) == ([], [CheckInConflict(REPORT, status)])


def test_a_check_in_of_an_unknown_ticket_is_a_conflict_without_status():
    assert judge([REPORT], {}) == ([], [CheckInConflict(REPORT, None)])


def test_a_report_without_a_check_in_contradicts_nothing():
    annulled = replace(REPORT, check_in_time=None)
    assert judge([annulled], {}) == ([], [])
    assert judge([annulled], {KEY: ReportedTicket(TicketStatus.REFUNDED, 3)}) == ([], [])


def test_a_newer_report_clears_the_check_in_of_a_cancelled_ticket():
    annulled = replace(REPORT, check_in_time=None)
    for status in (TicketStatus.CANCELLED, TicketStatus.REFUNDED):
        stored = {KEY: ReportedTicket(status, 2)}
        assert judge([annulled], stored) == ([annulled], [])
        # Another admission after the cancellation is a conflict, and the earlier check-in was annulled all the same.
        assert judge([REPORT], stored) == ([annulled], [CheckInConflict(REPORT, status)])
