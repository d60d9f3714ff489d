"""Keyset pagination: a page token contains the last position and a digest of the filter.

A token is opaque, not secret: it contains only values that the caller has received.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ticketing.chassis.failures import Failure, invalid

DEFAULT_PAGE_SIZE = 25
DIGEST_BYTES = 8
MAX_TOKEN_CHARACTERS = 512


def page_size(requested: int, *, max_size: int = 100) -> int:
    """Return the effective page size (AIP-158): the default for 0, at most `max_size`; refuse a negative one."""
    if requested < 0:
        raise invalid("page_size", "is negative")
    return min(requested or DEFAULT_PAGE_SIZE, max_size)


def page_token(position: Sequence[str], query: Sequence[object]) -> str:
    """Build the token of the page after `position` for the filter `query`."""
    packed = _digest(query) + json.dumps(list(position)).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def page_position(token: str, query: Sequence[object], *, parts: int) -> list[str] | None:
    """Return the position at which the page begins; None for the first page.

    Raises:
        Failure: INVALID_ARGUMENT for a token of another filter.
    """
    if not token:
        return None
    fault = _fault()
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise fault
    try:
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        position = json.loads(packed[DIGEST_BYTES:])
    except (binascii.Error, ValueError) as error:
        raise fault from error
    if packed[:DIGEST_BYTES] != _digest(query):
        raise fault
    if not isinstance(position, list) or len(position) != parts or not all(isinstance(p, str) for p in position):
        raise fault
    return position


def id_position(token: str, query: Sequence[object]) -> UUID | None:
    """Return the id at which the page begins, as `page_position` does."""
    position = page_position(token, query, parts=1)
    try:
        return None if position is None else UUID(position[0])
    except ValueError as error:
        raise _fault() from error


def time_position(token: str, query: Sequence[object]) -> tuple[datetime, UUID] | None:
    """Return the time and the id at which the page begins, as `page_position` does."""
    position = page_position(token, query, parts=2)
    try:
        return None if position is None else (datetime.fromisoformat(position[0]), UUID(position[1]))
    except ValueError as error:
        raise _fault() from error


def _fault() -> Failure:
    return invalid("page_token", "is not a token of this list with this filter")


def _digest(query: Sequence[object]) -> bytes:
    return hashlib.sha256(json.dumps([str(part) for part in query]).encode()).digest()[:DIGEST_BYTES]
