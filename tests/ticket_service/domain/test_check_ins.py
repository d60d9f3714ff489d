from dataclasses import replace

from tests.selling.rows import NOW
from ticket_service.domain.check_ins import CheckIn, Conflict, Known, judge, latest
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.ids import new_id

REPORT = CheckIn(new_id(), new_id(), NOW, 3)
KEY = (REPORT.event_id, REPORT.ticket_id)


def test_only_the_last_word_on_each_ticket_counts():
    newer = replace(REPORT, check_in_time=None, sequence=4)
    assert latest([REPORT, newer]) == latest([newer, REPORT]) == [newer]


def test_reports_come_in_the_order_in_which_tickets_are_locked():
    reports = [replace(REPORT, ticket_id=new_id()) for _ in range(5)]
    assert latest(reversed(reports)) == sorted(reports, key=lambda report: report.ticket_id)


def test_a_report_that_is_news_is_applied():
    for status in (TicketStatus.ACTIVE, TicketStatus.BLOCKED):
        assert judge([REPORT], {KEY: Known(status, 2)}) == ([REPORT], [])


def test_a_repeated_or_overtaken_report_changes_nothing():
    assert judge([REPORT], {KEY: Known(TicketStatus.ACTIVE, 3)}) == ([], [])
    assert judge([REPORT], {KEY: Known(TicketStatus.ACTIVE, 9)}) == ([], [])


def test_a_check_in_of_a_ticket_that_was_given_back_is_a_conflict_each_time_it_is_reported():
    for status in (TicketStatus.CANCELLED, TicketStatus.REFUNDED):
        assert judge([REPORT], {KEY: Known(status, 9)}) == ([], [Conflict(REPORT, status)])


def test_a_check_in_of_an_unknown_ticket_is_a_conflict_without_status():
    assert judge([REPORT], {}) == ([], [Conflict(REPORT, None)])


def test_that_no_check_in_stands_contradicts_nothing():
    annulled = replace(REPORT, check_in_time=None)
    assert judge([annulled], {}) == ([], [])
    assert judge([annulled], {KEY: Known(TicketStatus.REFUNDED, 1)}) == ([], [])
