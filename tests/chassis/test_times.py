from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.times import timestamp


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2030, 6, 1, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=-3))),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_timestamp_equals_the_one_of_protobuf(time):
    expected = Timestamp()
    expected.FromDatetime(time)
    assert timestamp(time) == expected


def test_none_stays_absent():
    assert timestamp(None) is None
