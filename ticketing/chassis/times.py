"""Times as messages, to the microsecond, UTC."""

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from ticketing.chassis.parsing import EPOCH

_MICROSECOND = timedelta(microseconds=1)


def timestamp(time: datetime | None) -> Timestamp | None:
    """Build the message of a time; None stays absent."""
    if time is None:
        return None
    # Timestamp.FromDatetime does the same in Python, at five times the price.
    seconds, microseconds = divmod((time - EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1_000)
