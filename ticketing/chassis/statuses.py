"""Conversion of a Failure to a gRPC status with details (AIP-193, google.rpc.ErrorInfo)."""

import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ticketing.chassis.failures import Failure

REASON_PREFIX = "ERROR_REASON_"
# grpcio-status publishes no types.
_to_status: Callable[[status_pb2.Status], grpc.Status] = rpc_status.to_status

# gRPC's own retries read the wait from this metadata and never RetryInfo; -1 forbids a repetition.
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
# A longer wait is the caller's decision, because a call in its deadline cannot outlast it.
MAX_PUSHBACK: Final = timedelta(seconds=2)
# Callers that were refused in the same moment repeat their calls in different ones.
MAX_JITTER: Final = 0.5


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """The status code of a reason and the metadata keys that it may have, as the contract states them."""

    code: grpc.StatusCode
    metadata_keys: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All reasons of a service, and their domain."""

    domain: str
    entries: Mapping[str, ReasonEntry]

    def status(self, failure: Failure) -> grpc.Status:
        """Build the status of `failure`; its metadata states the wait for gRPC's own retries, with jitter.

        Raises:
            LookupError: the catalogue lacks the reason or one of its metadata keys.
        """
        entry = self.entries[failure.reason]
        if unknown := failure.metadata.keys() - entry.metadata_keys:
            raise LookupError(f"{failure.reason} has no metadata {sorted(unknown)} in the contract")
        details = [_packed(detail) for detail in self._details(failure)]
        code = code_pb2.Code.Value(entry.code.name)
        status: Any = _to_status(status_pb2.Status(code=code, message=failure.message, details=details))
        if failure.retry_after is not None:
            pushback = (PUSHBACK_KEY, _pushback(failure.retry_after))
            status = status._replace(trailing_metadata=(*status.trailing_metadata, pushback))
        return cast(grpc.Status, status)

    def _details(self, failure: Failure) -> list[Message]:
        details: list[Message] = [
            error_details_pb2.ErrorInfo(
                reason=REASON_PREFIX + failure.reason, domain=self.domain, metadata=failure.metadata
            )
        ]
        if failure.violations:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                for v in failure.violations
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if failure.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromTimedelta(failure.retry_after)
            details.append(retry)
        return details


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _pushback(wait: timedelta) -> str:
    if wait > MAX_PUSHBACK:
        return "-1"
    jitter = 1 + random.uniform(0, MAX_JITTER)  # noqa: S311 - jitter is no secret
    return str(round(wait.total_seconds() * 1_000 * jitter))


def internal_status(error_id: str) -> grpc.Status:
    """Build the status of an unexpected exception, which contains only the id by which the log names it."""
    return _to_status(status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error {error_id}"))
