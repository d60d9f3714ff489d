"""What a call can fail with, free of gRPC, so that the domain may raise it.

A service's catalogue (`ticketing.chassis.statuses`) says which status code and which metadata keys belong to a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

# The reasons that the chassis itself gives; every service's contract has them.
INVALID_ARGUMENT = "INVALID_ARGUMENT"
UNAUTHENTICATED = "UNAUTHENTICATED"
FORBIDDEN = "FORBIDDEN"
OVERLOADED = "OVERLOADED"
DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"

RETRY_SOON = timedelta(seconds=1)

# Details travel in the trailers, which peers bound to 8 KiB: name so many fields, then count the rest.
MAX_VIOLATIONS = 40


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault, by its path in the request, such as `items[0].quantity`."""

    field: str
    description: str


class Failure(Exception):  # noqa: N818 - the name a caller of the service would use: most of these are no errors of ours
    """A refusal that the caller is told: reason, words for people, and facts for programs.

    Args:
        reason: as in the service's ErrorReason, without its prefix.
        message: for people; nothing internal.
        violations: the fields at fault, with INVALID_ARGUMENT.
        retry_after: where waiting helps, how long.
        metadata: the facts that the reason's contract names.
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
    """Say that one field is at fault."""
    return invalid_fields([FieldViolation(field, description)])


def invalid_fields(violations: Sequence[FieldViolation]) -> Failure:
    """Say which fields are at fault, all at once."""
    named = list(violations[:MAX_VIOLATIONS])
    if more := len(violations) - len(named):
        named.append(FieldViolation("", f"and {more} more"))
    first = f"{named[0].field}: {named[0].description}" if named[0].field else named[0].description
    message = first if len(named) == 1 else f"{first} (and {len(violations) - 1} more)"
    return Failure(INVALID_ARGUMENT, message, violations=named)


def unauthenticated(cause: str) -> Failure:
    """Say that the credential is missing or does not verify."""
    return Failure(UNAUTHENTICATED, f"not authenticated: {cause}", cause=cause)


def overloaded(what: str, retry_after: timedelta = RETRY_SOON) -> Failure:
    """Say that too much was asked at once."""
    return Failure(OVERLOADED, f"too much at once: {what}", retry_after=retry_after)


def dependency_unavailable(dependency: str, retry_after: timedelta = RETRY_SOON) -> Failure:
    """Say that something this service needs did not answer."""
    message = f"the {dependency} did not answer; try again"
    return Failure(DEPENDENCY_UNAVAILABLE, message, retry_after=retry_after, dependency=dependency)
