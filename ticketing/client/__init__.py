"""Channels for the generated stubs of both services; `ticketing.client.aio` has those of asyncio."""

from ticketing.client.errors import (
    AbortedError,
    AlreadyExistsError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    TicketingError,
    UnauthenticatedError,
    UnavailableError,
)
from ticketing.client.reason import Reason
from ticketing.client.request_ids import new_id
from ticketing.client.sync import connect

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "Reason",
    "ResourceExhaustedError",
    "TicketingError",
    "UnauthenticatedError",
    "UnavailableError",
    "connect",
    "new_id",
]
