"""Gate devices and their credentials; the database stores only hashes of credentials."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Gate

# The prefix distinguishes a device token from a JWT without a query.
TOKEN_PREFIX: Final = "device_"  # noqa: S105 - a format, no secret
ENROLLMENT_WINDOW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Device:
    """A gate device."""

    device_id: UUID
    organizer_id: str
    name: str
    # The events to which the device is bound; empty: all of its organizer's.
    event_ids: frozenset[UUID]
    create_time: datetime
    # None: not enrolled yet.
    enroll_time: datetime | None
    last_seen_time: datetime | None
    revoke_time: datetime | None
    # The device counts as connected until this time.
    connected_until: datetime | None
    # The gate that the device opened last.
    gate: Gate | None

    def may_enroll(self, now: datetime) -> bool:
        """Return whether the enrollment code is still valid."""
        fresh = now - self.create_time <= ENROLLMENT_WINDOW
        return fresh and self.enroll_time is None and self.revoke_time is None


def new_code() -> str:
    """Generate an enrollment code of 80 bits: 16 letters and digits in groups of four, for typing."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(text[begin : begin + 4] for begin in range(0, len(text), 4))


def code_digest(code: str) -> bytes:
    """Return the stored digest of an enrollment code; case, blanks and hyphens do not matter."""
    return _digest("".join(code.split()).replace("-", "").upper())


def new_token() -> str:
    """Generate an access token of 256 bits, so that a plain hash of it is safe to store."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(token: str) -> bytes:
    """Return the stored digest of an access token."""
    return _digest(token)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
