"""Conversion of a Failure to a gRPC status with details (AIP-193, google.rpc.ErrorInfo)."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ticketing.chassis.failures import Failure

REASON_PREFIX = "ERROR_REASON_"
# grpcio-status publishes no types.
_to_status: Callable[[status_pb2.Status], grpc.Status] = rpc_status.to_status


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
        """Build the status of `failure`.

        Raises:
            LookupError: the catalogue lacks the reason or one of its metadata keys.
        """
        entry = self.entries[failure.reason]
        if unknown := failure.metadata.keys() - entry.metadata_keys:
            raise LookupError(f"{failure.reason} has no metadata {sorted(unknown)} in the contract")
        details = [_packed(detail) for detail in self._details(failure)]
        code = code_pb2.Code.Value(entry.code.name)
        return _to_status(status_pb2.Status(code=code, message=failure.message, details=details))

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


def internal_status(error_id: str) -> grpc.Status:
    """Build the status of an unexpected exception, which contains only the id by which the log names it."""
    return _to_status(status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error {error_id}"))
