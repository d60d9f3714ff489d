"""Failures of a call, independent of gRPC so that the domain can raise them.

A service's catalogue (`ticketing.chassis.statuses`) maps each reason to its status code and metadata keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

# The reasons that the chassis itself raises; the contract of every service contains them.
INVALID_ARGUMENT = "INVALID_ARGUMENT"
UNAUTHENTICATED = "UNAUTHENTICATED"
FORBIDDEN = "FORBIDDEN"
OVERLOADED = "OVERLOADED"
DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"

RETRY_SOON = timedelta(seconds=1)

# Details travel in the trailers, which peers limit to 8 KiB: name this many fields and count the rest.
MAX_VIOLATIONS = 40


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field, named by its path in the request, such as `items[0].quantity`."""

    field: str
    description: str


class Failure(Exception):  # noqa: N818 - most of these are refusals, not errors of the service
    """A refusal that the caller receives: a reason, a message for people, and metadata for programs.

    `reason` is a value of the service's ErrorReason without its prefix; the contract names the metadata keys of each.
    `violations` are the invalid fields of INVALID_ARGUMENT. `retry_after` is set where a retry may succeed.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        retry_after: timedelta | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.metadata = {key: str(value) for key, value in metadata.items()}


def invalid(field: str, description: str) -> Failure:
    """Build the Failure for one invalid field."""
    return invalid_fields([FieldViolation(field, description)])


def invalid_fields(violations: Sequence[FieldViolation]) -> Failure:
    """Build the Failure that names all invalid fields."""
    named = list(violations[:MAX_VIOLATIONS])
    if more := len(violations) - len(named):
        named.append(FieldViolation("", f"and {more} more"))
    first = f"{named[0].field}: {named[0].description}" if named[0].field else named[0].description
    message = first if len(named) == 1 else f"{first} (and {len(violations) - 1} more)"
    return Failure(INVALID_ARGUMENT, message, violations=named)


def unauthenticated(cause: str) -> Failure:
    """Build the Failure for a missing or invalid credential."""
    return Failure(UNAUTHENTICATED, f"not authenticated: {cause}", cause=cause)


def overloaded(what: str, retry_after: timedelta = RETRY_SOON) -> Failure:
    """Build the Failure for load beyond a limit; `what` names the limited resource."""
    return Failure(OVERLOADED, f"too much at once: {what}", retry_after=retry_after)


def dependency_unavailable(dependency: str, retry_after: timedelta = RETRY_SOON) -> Failure:
    """Build the Failure for a dependency that did not answer."""
    message = f"the {dependency} did not answer; try again"
    return Failure(DEPENDENCY_UNAVAILABLE, message, retry_after=retry_after, dependency=dependency)


def peer_refused(dependency: str) -> Failure:
    """Build the Failure for a service that does not accept the secret or certificate of this one."""
    message = f"the {dependency} does not accept the secret or certificate of this service"
    return Failure(DEPENDENCY_UNAVAILABLE, message, retry_after=RETRY_SOON, dependency=dependency)
