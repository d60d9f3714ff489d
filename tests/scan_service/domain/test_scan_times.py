"""The times of offline scans: none lies in the future, and those that may be wrong are marked."""

from datetime import UTC, datetime, timedelta

import pytest

from scan_service.domain.scan_times import MAX_AHEAD, settle_times
from tests.scanning.records import recorded
from ticketing.admission.scans import OfflineDecision, Verdict

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_decision(time: datetime, annul_time: datetime | None = None, *, clock_unknown: bool = False) -> OfflineDecision:
    return OfflineDecision(Verdict.ADMITTED, None, time, annul_time, clock_unknown=clock_unknown)


@pytest.mark.parametrize("time", [NOW - 99 * MINUTE, NOW, NOW + MAX_AHEAD])
def test_time_that_may_have_been_stays(time):
    decision = a_decision(time)
    assert settle_times(decision, NOW, None) == (decision, False)


def test_estimate_of_a_device_is_marked():
    decision = a_decision(NOW - MINUTE, clock_unknown=True)
    assert settle_times(decision, NOW, None) == (decision, True)


def test_time_in_the_future_becomes_the_present_and_is_marked():
    sent = a_decision(NOW + 3 * MINUTE, NOW + 4 * MINUTE)
    assert settle_times(sent, NOW, None) == (a_decision(NOW, NOW + MINUTE), True)


def test_a_repeated_upload_keeps_the_doubtful_time_of_its_record():
    sent = a_decision(NOW + 3 * MINUTE, NOW + 4 * MINUTE)
    before = recorded(0, scan_time=NOW - MINUTE, doubtful_time=True)
    assert settle_times(sent, NOW, before) == (a_decision(NOW - MINUTE, NOW), True)
    certain = recorded(0, scan_time=NOW - MINUTE)
    assert settle_times(sent, NOW, certain) == (a_decision(NOW, NOW + MINUTE), True)


def test_clocks_may_differ_by_five_seconds():
    assert timedelta(seconds=5) == MAX_AHEAD
    ahead = a_decision(NOW + MAX_AHEAD + timedelta(microseconds=1))
    assert settle_times(ahead, NOW, None) == (a_decision(NOW), True)
