"""Gate devices and their credentials, which are stored as hashes only."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Gate

# By which a device's token is told from a JWT without a look at the database.
TOKEN_PREFIX: Final = "device_"  # noqa: S105 - a form, no secret
ENROLLMENT_WINDOW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Device:
    """A gate device."""

    device_id: UUID
    # Whose it is.
    organizer_id: str
    name: str
    # It may scan for; empty: all of its organizer's.
    event_ids: frozenset[UUID]
    create_time: datetime
    # When it traded its code; None: not yet.
    enroll_time: datetime | None
    last_seen_time: datetime | None
    revoke_time: datetime | None
    # Its stream is open at least until then, as far as is known.
    connected_until: datetime | None
    # Where it scans or last did.
    gate: Gate | None

    def may_enroll(self, now: datetime) -> bool:
        """Tell whether its code is still good."""
        fresh = now - self.create_time <= ENROLLMENT_WINDOW
        return fresh and self.enroll_time is None and self.revoke_time is None


def new_code() -> str:
    """Make an enrollment code: 16 letters and digits in fours, as a person types them; 80 bits."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(text[begin : begin + 4] for begin in range(0, len(text), 4))


def code_digest(code: str) -> bytes:
    """Return what is stored of a code, however a person has typed it."""
    return _digest("".join(code.split()).replace("-", "").upper())


def new_token() -> str:
    """Make an access token; 256 bits, so that a plain hash of it gives nothing away."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def token_digest(token: str) -> bytes:
    """Return what is stored of a token."""
    return _digest(token)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
