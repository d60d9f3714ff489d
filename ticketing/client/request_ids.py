"""Ids that the client chooses: UUIDv7 (RFC 9562), for `request_id` and for the metadata `x-request-id`."""

import secrets
import time
from typing import Any, Final
from uuid import UUID

REQUEST_ID_KEY: Final = "x-request-id"
_FIELD: Final = "request_id"


def new_id() -> str:
    """Generate a UUIDv7: 48 bits of milliseconds since 1970, and 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << 80) | secrets.randbits(80)
    number = number & ~(0xF << 76) | 7 << 76
    return str(UUID(int=number & ~(3 << 62) | 2 << 62))


def fill_request_id(request: Any) -> None:
    """Set the `request_id` of a request that has this field empty.

    The id stays in the caller's message: a caller who sends the same message again repeats the request, and does not
    make a second one.
    """
    if _FIELD in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request.request_id = new_id()
