"""The details in the status of a refused call."""

from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

Detail = TypeVar("Detail", bound=Message)


def details_of(error: grpc.aio.AioRpcError) -> list[Any]:
    """Return the packed details of a refusal; none if the service sent no status message."""
    # AioRpcError is not typed as a grpc.Call, but has the methods that from_call uses.
    status = rpc_status.from_call(cast(grpc.Call, error))
    return list(status.details) if status else []


def detail_of(error: grpc.aio.AioRpcError, kind: type[Detail]) -> Detail:
    """Return the detail of one type; fail if there is none."""
    found = kind()
    assert any(detail.Unpack(found) for detail in details_of(error)), f"no {kind.__name__} in {error}"
    return found


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a refusal, without its prefix."""
    return str(detail_of(error, error_details_pb2.ErrorInfo).reason).removeprefix("ERROR_REASON_")


def violations_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return the invalid fields of a refused request, and the description of each fault."""
    bad_request = detail_of(error, error_details_pb2.BadRequest)
    return {violation.field: violation.description for violation in bad_request.field_violations}
