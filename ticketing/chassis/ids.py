"""Identifiers: UUIDv7 (RFC 9562), so that rows created together lie together in an index."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Generate a UUIDv7."""
    return uuid7()
