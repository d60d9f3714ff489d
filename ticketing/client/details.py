"""The details of a failed call: google.rpc.Status and what it contains, without a further package.

The messages have a descriptor pool of their own, so a program may load the package `googleapis-common-protos` as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory, text_format
from google.protobuf.message import DecodeError

DETAILS_KEY: Final = "grpc-status-details-bin"
# The fields of google/rpc/status.proto and google/rpc/error_details.proto that the services set.
_MESSAGES: Final = """
    name: "google/rpc/details.proto" package: "google.rpc" syntax: "proto3"
    dependency: "google/protobuf/any.proto" dependency: "google/protobuf/duration.proto"
    message_type { name: "Status"
        field { name: "details" number: 3 label: LABEL_REPEATED type_name: ".google.protobuf.Any" } }
    message_type { name: "ErrorInfo"
        field { name: "reason" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
        field { name: "domain" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
        field { name: "metadata" number: 3 label: LABEL_REPEATED type_name: ".google.rpc.ErrorInfo.MetadataEntry" }
        nested_type { name: "MetadataEntry" options { map_entry: true }
            field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
            field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING } } }
    message_type { name: "RetryInfo"
        field { name: "retry_delay" number: 1 label: LABEL_OPTIONAL type_name: ".google.protobuf.Duration" } }
    message_type { name: "BadRequest"
        field { name: "field_violations" number: 1 label: LABEL_REPEATED
                type_name: ".google.rpc.BadRequest.FieldViolation" }
        nested_type { name: "FieldViolation"
            field { name: "field" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
            field { name: "description" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING } } }
"""


def _message_classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    for file in (any_pb2, duration_pb2):
        pool.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
    own = text_format.Parse(_MESSAGES, descriptor_pb2.FileDescriptorProto())
    pool.AddSerializedFile(own.SerializeToString())
    messages = pool.FindFileByName(own.name).message_types_by_name.values()
    return {message.name: message_factory.GetMessageClass(message) for message in messages}


_CLASSES: Final = _message_classes()


@dataclass(frozen=True, slots=True)
class Details:
    """The details that a service sent with a status; empty where a proxy or gRPC itself made the status."""

    # The name of the reason in error_reason.proto, without its prefix.
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    # The faults of an invalid request: the path of each field, and a text for people.
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: timedelta | None = None


def details_of(trailers: Iterable[Any] | None) -> Details:
    """Read the details in the trailing metadata of a failed call."""
    data = dict(trailers or ()).get(DETAILS_KEY, b"")
    info, faults, retry = _CLASSES["ErrorInfo"](), _CLASSES["BadRequest"](), _CLASSES["RetryInfo"]()
    try:
        for detail in _CLASSES["Status"].FromString(data if isinstance(data, bytes) else b"").details:
            for known in (info, faults, retry):
                detail.Unpack(known)
    except DecodeError:
        return Details()
    return Details(
        info.reason.removeprefix("ERROR_REASON_"),
        info.domain,
        dict(info.metadata),
        tuple((violation.field, violation.description) for violation in faults.field_violations),
        retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
    )
