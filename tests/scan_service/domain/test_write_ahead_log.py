"""Tests of the places in the log of a server that was promoted."""

import pytest

from scan_service.domain.write_ahead_log import LogPlace, ServerLog

PRIMARY = ServerLog(LogPlace(3, 900))
PROMOTED = ServerLog(LogPlace(3, 900), promoted_at=500)


def test_a_place_is_written_by_timeline_and_position():
    assert str(LogPlace(3, 900)) == "3.900"


@pytest.mark.parametrize(
    ("log", "read", "has_it"),
    [
        # A standby follows its primary.
        (ServerLog(), LogPlace(9, 9), True),
        (ServerLog(promoted_at=500), None, True),
        # The same timeline has everything that was read in it.
        (PRIMARY, LogPlace(3, 999), True),
        (PROMOTED, LogPlace(3, 999), True),
        # The promoted standby has what it had replayed of the timeline before.
        (PROMOTED, LogPlace(2, 500), True),
        (PROMOTED, LogPlace(2, 501), False),
        # Of other timelines, and without a promotion, nothing is known.
        (PROMOTED, LogPlace(1, 1), False),
        (PROMOTED, LogPlace(4, 1), False),
        (PRIMARY, LogPlace(2, 1), False),
        # A reading without a place was made by an earlier version, or from a standby.
        (PRIMARY, None, True),
        (PROMOTED, None, False),
    ],
)
def test_a_server_has_what_its_log_shows(log, read, has_it):
    assert log.has(read) is has_it
