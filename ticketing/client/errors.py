"""The exceptions that calls raise. They are instances of grpc.RpcError as well, with its code() and details()."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import grpc
import grpc.aio

from ticketing.client.details import details_of
from ticketing.client.reason import Reason


class TicketingError(grpc.aio.AioRpcError):
    """A call that failed; of asyncio or not."""

    # UNSPECIFIED: the status has no reason of the services, for example because the network failed, or the reason is
    # newer than this package; `reason_name` has its name then.
    reason: Reason
    reason_name: str
    # The facts of the reason by the keys that docs/api/errors.md lists.
    metadata: Mapping[str, str]
    # The path of each invalid field, and a text for people.
    violations: tuple[tuple[str, str], ...]
    # The time after which a repetition may succeed; None where waiting does not help.
    retry_after: timedelta | None
    # The id by which the logs of the service name the call.
    x_request_id: str

    def __str__(self) -> str:
        name = self.reason_name or self.code().name
        return f"{name}: {self.details()} [x-request-id {self.x_request_id}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), self.__dict__)


class InvalidArgumentError(TicketingError):
    """A request that is invalid; `violations` name every field at fault."""


class UnauthenticatedError(TicketingError):
    """A call whose token is missing, expired or not accepted."""


class PermissionDeniedError(TicketingError):
    """A call that the caller's role does not allow."""


class NotFoundError(TicketingError):
    """A call about an object that does not exist or is hidden from the caller."""


class AlreadyExistsError(TicketingError):
    """A call whose id belongs to a different request, or whose payment pays for another purchase."""


class FailedPreconditionError(TicketingError):
    """A call that the state of its object does not allow, such as SOLD_OUT."""


class AbortedError(TicketingError):
    """A call that lost a race with another change, such as ETAG_MISMATCH."""


class ResourceExhaustedError(TicketingError):
    """A call beyond a limit of the service."""


class UnavailableError(TicketingError):
    """A call that did not reach the service, or that found it stopping or without its database or payment provider."""


class DeadlineExceededError(TicketingError):
    """A call without an answer in its time. Whether it had an effect is unknown: repeat the same message."""


_CLASSES: Final[Mapping[grpc.StatusCode, type[TicketingError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}


# The text of gRPC for a stream that the program itself cancelled.
CANCELLED_HERE: Final = "Locally cancelled by application!"


def error_of(error: Any, x_request_id: str) -> TicketingError:
    """Convert an exception of gRPC, of a call with this id."""
    # Some of gRPC's own pairs have a class that pickle does not find.
    initial, trailers = (
        grpc.aio.Metadata(*((key, value) for key, value in pairs or ()))
        for pairs in (error.initial_metadata(), error.trailing_metadata())
    )
    code, text = error.code(), error.details()
    is_own = text == CANCELLED_HERE
    kind = TicketingError if is_own else _CLASSES.get(code, TicketingError)
    # gRPC would wait for ever for the debug string of a stream that the program cancelled.
    raised = kind(code, initial, trailers, text, "" if is_own else error.debug_error_string())
    details = details_of(trailers)
    raised.reason = Reason.__members__.get(details.reason, Reason.UNSPECIFIED)
    raised.reason_name = details.reason
    raised.metadata, raised.violations, raised.retry_after = details.metadata, details.violations, details.retry_after
    raised.x_request_id = x_request_id
    return raised
