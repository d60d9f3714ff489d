"""Tests of the evidence of lost commits, and of the progress of a recovery."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scan_service.domain.recoveries import (
    KEPT,
    MARGIN,
    Cause,
    ListedDevice,
    Recovery,
    RecoveryReport,
    SeenServer,
    find_lost_commits,
)
from scan_service.domain.write_ahead_log import ServerLog

SINCE = datetime(2030, 5, 1, 20, tzinfo=UTC)
BEGIN, MOMENT = SINCE + timedelta(hours=1), timedelta(microseconds=1)
RECOVERY = Recovery(uuid.UUID(int=1), Cause.OPERATOR, SINCE, BEGIN)
SEEN = SeenServer("7/0000000A/5", 100, "7/0000000A/5", SINCE, ServerLog())


def test_devices_are_asked_from_a_margin_before_the_restored_moment():
    assert RECOVERY.resend.since_time == SINCE - MARGIN == SINCE - timedelta(minutes=1)
    assert RECOVERY.resend.recovery_id == RECOVERY.recovery_id


@pytest.mark.parametrize(
    ("since", "covered"),
    [(None, True), (SINCE - MOMENT, False), (SINCE, True), (BEGIN, True), (BEGIN + MOMENT, False)],
)
def test_a_recovery_covers_moments_up_to_its_begin(since, covered):
    assert RECOVERY.covers(since) is covered


def test_a_recovery_is_over_when_no_device_keeps_its_scans():
    assert timedelta(days=7) == KEPT
    assert not RECOVERY.is_over(BEGIN + KEPT)
    assert RECOVERY.is_over(BEGIN + KEPT + MOMENT)


def test_a_recovery_is_complete_after_the_last_answer():
    answered = replace(RECOVERY, check_ins_time=BEGIN, devices_time=BEGIN)
    device = ListedDevice(uuid.UUID(int=2), "orga", "North", None, SINCE)

    def is_complete(recovery: Recovery, *pending: ListedDevice) -> bool:
        return RecoveryReport(recovery, [], 0, pending, [], []).is_complete

    assert is_complete(answered)
    assert not is_complete(answered, device)
    assert not is_complete(replace(answered, check_ins_time=None))
    assert not is_complete(replace(answered, devices_time=None))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, None),
        ({"last": None, "next_transaction": 1}, None),
        ({"last": "7/0000000B/5"}, Cause.SERVER),
        ({"last": "8/0000000A/5"}, Cause.SERVER),
        ({"next_transaction": 99}, Cause.TRANSACTIONS),
    ],
)
def test_another_server_or_an_earlier_transaction_has_lost_commits(changes, cause):
    assert find_lost_commits(replace(SEEN, **changes), 100) is cause


def test_the_timelines_of_a_server_are_hexadecimal():
    seen = replace(SEEN, present="7/00000010/5", last="7/0000000F/5", log=ServerLog(promoted_at=400))
    assert seen.is_promoted


@pytest.mark.parametrize(
    ("last", "promoted_at", "is_promoted"),
    [
        ("7/00000009/5", 400, True),
        ("7/00000009/5", None, False),
        ("7/00000008/5", 400, False),
        ("7/0000000A/5", 400, False),
        ("8/00000009/5", 400, False),
        ("7/00000009/6", 400, False),
        (None, 400, False),
    ],
)
def test_a_promoted_standby_is_one_timeline_later(last, promoted_at, is_promoted):
    seen = replace(SEEN, last=last, log=ServerLog(promoted_at=promoted_at))
    assert seen.is_promoted is is_promoted
