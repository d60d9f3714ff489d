"""The status of a refused call and its details."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
import pytest
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


@dataclass(frozen=True)
class Refusal:
    """The status and details of a refused call."""

    code: grpc.StatusCode
    reason: str
    metadata: Mapping[str, str]
    fields: frozenset[str]

    @property
    def cause(self) -> tuple[str, Mapping[str, str]]:
        """The reason and its metadata."""
        return self.reason, self.metadata


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the details of a refused call; a call without details has an empty reason."""
    info, faults = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in details_of(error):
        _ = detail.Unpack(info) or detail.Unpack(faults)
    fields = frozenset(violation.field for violation in faults.field_violations)
    return Refusal(error.code(), info.reason.removeprefix("ERROR_REASON_"), dict(info.metadata), fields)


async def refusal(call: Awaitable[object]) -> Refusal:
    """Make a call that is refused; return its refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


async def fields_at_fault(call: Awaitable[object]) -> list[str]:
    """Make a call with an invalid request; return the names of its invalid fields."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return list(violations_of(caught.value))
