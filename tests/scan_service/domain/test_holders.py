"""Tests of the scans whose ticket's name a gate may read."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from scan_service.domain.holders import HolderRequest
from tests.scanning.cases import HERE, MICROSECOND, MINUTE, NOON
from tests.scanning.records import recorded

REQUEST = HolderRequest(HERE, uuid.uuid4(), "handheld", "sam", None)


@pytest.mark.parametrize(
    ("changes", "after", "allowed"),
    [
        ({}, timedelta(), True),
        ({}, 5 * MINUTE - MICROSECOND, True),
        ({}, 5 * MINUTE, False),
        ({"device_id": "turnstile"}, timedelta(), False),
        ({"scanner_user_id": "sue"}, timedelta(), False),
        ({"offline": True}, timedelta(), False),
        # The name is shown after the record, whatever time the gate sent.
        ({"scan_time": NOON - timedelta(days=1)}, timedelta(), True),
    ],
)
def test_a_gate_reads_names_for_its_own_live_scans_of_minutes(changes, after, allowed):
    scan = replace(recorded(0), **changes)
    assert REQUEST.is_for(scan, NOON + after) is allowed
