"""Conversion of times to protobuf timestamps, in UTC, to the microsecond."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.parsing import EPOCH

_MICROSECOND = timedelta(microseconds=1)


def timestamp(time: datetime | None) -> Timestamp | None:
    """Convert a time to a Timestamp; None stays absent."""
    if time is None:
        return None
    # Timestamp.FromDatetime does the same in Python and takes five times as long.
    seconds, microseconds = divmod((time - EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1_000)
