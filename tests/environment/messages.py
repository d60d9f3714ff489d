"""Messages of well-known types."""

from datetime import datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp


def at(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def struct(**content: Any) -> Struct:
    message = Struct()
    message.update(content)
    return message
