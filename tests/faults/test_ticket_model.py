"""The model of a ticket finds impossible answers, and accepts possible ones."""

from math import inf

from tests.faults.ticket_model import ADMITTED, ANNUL, CANCEL, CLOSE, REISSUE, SCAN, TRANSFER, Step, explain


def scan(begin: float, end: float, result: str | None, scan_id: str = "a", issue: int = 1) -> Step:
    return Step(SCAN, begin, end, result, str(issue), scan_id)


def test_a_second_admission_has_no_explanation():
    assert explain([scan(0, 1, ADMITTED, "a"), scan(2, 3, ADMITTED, "b")]) is None


def test_two_scans_at_a_time_admit_in_any_order():
    assert explain([scan(0, 2, "ALREADY_CHECKED_IN", "a"), scan(1, 3, ADMITTED, "b")])


def test_a_denial_without_an_earlier_admission_has_no_explanation():
    assert explain([scan(0, 1, "ALREADY_CHECKED_IN", "a"), scan(2, 3, ADMITTED, "b")]) is None


def test_an_unanswered_scan_explains_a_denial():
    assert explain([scan(0, inf, None, "a"), scan(2, 3, "ALREADY_CHECKED_IN", "b")])


def test_an_unanswered_scan_that_began_later_explains_nothing():
    assert explain([scan(4, inf, None, "a"), scan(2, 3, "ALREADY_CHECKED_IN", "b")]) is None


def test_a_cancelled_ticket_is_not_admitted():
    assert explain([Step(CANCEL, 0, 1, ""), scan(2, 3, ADMITTED)]) is None
    assert explain([Step(CANCEL, 0, 1, ""), scan(2, 3, "REFUNDED")])


def test_an_admitted_ticket_is_not_cancelled():
    assert explain([scan(0, 1, ADMITTED), Step(CANCEL, 2, 3, "")]) is None


def test_an_annulment_permits_one_more_admission():
    steps = [scan(0, 1, ADMITTED, "a"), Step(ANNUL, 2, 3, "", "a"), scan(4, 5, ADMITTED, "b")]
    assert explain(steps)
    assert explain([*steps, scan(6, 7, ADMITTED, "c")]) is None


def test_a_reissue_voids_older_tokens():
    assert explain([Step(REISSUE, 0, 1, "2"), scan(2, 3, ADMITTED)]) is None
    assert explain([Step(REISSUE, 0, 1, "2"), scan(2, 3, "SUPERSEDED"), scan(4, 5, ADMITTED, "b", 2)])


def test_a_checked_in_ticket_is_reissued_but_not_transferred():
    assert explain([scan(0, 1, ADMITTED), Step(REISSUE, 2, 3, "2")])
    assert explain([scan(0, 1, ADMITTED), Step(TRANSFER, 2, 3, "2")]) is None


def test_a_closed_event_admits_nobody():
    assert explain([Step(CLOSE, 0, inf, None), scan(2, 3, "EVENT_CANCELLED"), scan(4, 5, ADMITTED, "b")]) is None
    assert explain([Step(CLOSE, 0, inf, None), scan(2, 3, ADMITTED), scan(4, 5, "EVENT_CANCELLED", "b")])
