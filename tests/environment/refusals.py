"""The status of a refused call and its details."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status


def details_of(error: grpc.aio.AioRpcError) -> list[Any]:
    """Return the packed details of a refusal; none if the service sent no status message."""
    # AioRpcError is not typed as a grpc.Call, but has the methods that from_call uses.
    status = rpc_status.from_call(cast(grpc.Call, error))
    return list(status.details) if status else []


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a refusal, without its prefix."""
    return refusal_of(error).reason


def field_violations_of(error: grpc.aio.AioRpcError) -> Sequence[BadRequest.FieldViolation]:
    """Return the violations of a refused request; they are in its second detail."""
    faults = BadRequest()
    assert details_of(error)[1].Unpack(faults), f"the second detail is not a BadRequest: {error}"
    return faults.field_violations


def violations_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return the invalid fields of a refused request, and the description of each fault."""
    return {violation.field: violation.description for violation in field_violations_of(error)}


@dataclass(frozen=True)
class Refusal:
    """The status and details of a refused call."""

    code: grpc.StatusCode
    reason: str
    metadata: Mapping[str, str]
    fields: frozenset[str]
    # The time after which a retry may succeed; None where waiting does not help.
    retry_seconds: float | None = None

    @property
    def cause(self) -> tuple[str, Mapping[str, str]]:
        """The reason and its metadata."""
        return self.reason, self.metadata


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the details of a refused call; a call without details has an empty reason."""
    info, faults, retry = ErrorInfo(), BadRequest(), RetryInfo()
    details = details_of(error)
    if details:
        assert details[0].Unpack(info), f"the first detail is not an ErrorInfo: {error}"
    if len(details) > 1:
        details[1].Unpack(faults)
    fields = frozenset(violation.field for violation in faults.field_violations)
    waits = [retry.retry_delay.ToTimedelta() for detail in details if detail.Unpack(retry)]
    seconds = waits[0].total_seconds() if waits else None
    return Refusal(error.code(), info.reason.removeprefix("ERROR_REASON_"), dict(info.metadata), fields, seconds)


async def refusal(call: Awaitable[object]) -> Refusal:
    """Make a call that is refused; return its refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


async def fields_at_fault(call: Awaitable[object]) -> list[str]:
    """Make a call with an invalid request; return the names of its invalid fields, one per violation."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return [violation.field for violation in field_violations_of(caught.value)]
