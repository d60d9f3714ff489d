"""Gate devices and their credentials; the database stores only hashes of credentials."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Gate

# The prefix distinguishes a device token from a JWT without a query.
TOKEN_PREFIX: Final = "device_"  # noqa: S105 - a format, no secret
ENROLLMENT_WINDOW: Final = timedelta(hours=1)
CODE_BYTES: Final = 10
# A token has a random part and a tag, which proves without a query that this installation issued the token.
RANDOM_BYTES: Final = 20
TAG_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Device:
    """A gate device."""

    device_id: UUID
    organizer_id: str
    name: str
    # The events to which the device is bound; empty: all events of its organizer are allowed.
    event_ids: frozenset[UUID]
    create_time: datetime
    # None: the device is not enrolled yet.
    enroll_time: datetime | None = None
    last_seen_time: datetime | None = None
    revoke_time: datetime | None = None
    # The device counts as connected until this time.
    connected_until: datetime | None = None
    # The gate that the device opened last.
    gate: Gate | None = None
    # The service waits for scans that the device has to send again.
    resend_pending: bool = False

    def may_enroll(self, now: datetime) -> bool:
        """Return whether the enrollment code is within its hour and the device is not revoked."""
        return now - self.create_time <= ENROLLMENT_WINDOW and self.revoke_time is None


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A request to create a device."""

    name: str
    event_ids: frozenset[UUID]
    # None: every request creates a device.
    request_id: UUID | None

    def created(self, device: Device) -> bool:
        """Return whether the device under the request_id of this request was created by an equal request."""
        return (device.name, device.event_ids) == (self.name, self.event_ids)


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """A filter and a page of ListDevices."""

    # The organizer to whose devices the caller is restricted; None: the caller sees all.
    visible_to: str | None
    # Empty: any organizer.
    organizer_id: str
    # The event of the present or last gate; None: any event, and devices without a gate.
    event_id: UUID | None
    size: int
    after: UUID | None


class Credentials:
    """The enrollment codes and access tokens of devices.

    The database stores only their hashes, so the credentials of a request with a request_id are derived by HMAC, and a
    repetition derives them again. Without a request_id they are random. Both services share `secret`; domains keep the
    derived values apart.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def code(self, device_id: UUID, request_id: UUID | None) -> str:
        """Return an enrollment code of 80 bits: 16 letters and digits in groups of four, for typing."""
        seed = secrets.token_bytes(CODE_BYTES)
        if request_id is not None:
            seed = self._derive(b"enrollment code", device_id.bytes, request_id.bytes)[:CODE_BYTES]
        text = base64.b32encode(seed).decode()
        return "-".join(text[begin : begin + 4] for begin in range(0, len(text), 4))

    def token(self, code: str, request_id: UUID | None) -> str:
        """Return an access token of 160 secret bits, so that a plain hash of it is safe to store, and their tag."""
        seed = secrets.token_bytes(RANDOM_BYTES)
        if request_id is not None:
            seed = self._derive(b"device token", request_id.bytes, _canonical(code).encode())[:RANDOM_BYTES]
        return TOKEN_PREFIX + base64.urlsafe_b64encode(seed + self._tag(seed)).decode().rstrip("=")

    def are_ours(self, token: str) -> bool:
        """Return whether a token has a genuine tag; tokens up to version 0.1.0 have none, and are valid too."""
        try:
            # Any other last character than "=" is no padding: a token has 43 characters.
            seed = base64.b64decode(token.removeprefix(TOKEN_PREFIX) + "=", altchars=b"-_", validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(self._tag(seed[:RANDOM_BYTES]), seed[RANDOM_BYTES:])

    def _tag(self, seed: bytes) -> bytes:
        return self._derive(b"device token tag", seed)[:TAG_BYTES]

    def _derive(self, domain: bytes, *parts: bytes) -> bytes:
        # An id has 16 bytes and a code stands last, so different lists of parts give different messages.
        return hmac.digest(self._secret, b"\0".join((b"ticketing", domain, b"".join(parts))), hashlib.sha256)


def code_digest(code: str) -> bytes:
    """Return the stored digest of an enrollment code; case, blanks and hyphens do not matter."""
    return token_digest(_canonical(code))


def token_digest(token: str) -> bytes:
    """Return the stored digest of an access token."""
    return hashlib.sha256(token.encode()).digest()


def _canonical(code: str) -> str:
    return "".join(code.split()).replace("-", "").upper()
