"""The keys that verify access tokens: a JWK set (RFC 7517) from a file or a URL, kept while its source is away.

Read again every few minutes, so that keys that were taken out end, and when a token names a key that is not there, at
most every few seconds. Nobody who comes with a known key waits for the source.
"""

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import jwt

from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import dependency_unavailable

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
MAX_BYTES: Final = 256 * 1024
FETCH_SECONDS: Final = 5.0
# Anybody can name keys that do not exist; so often at most they make us look.
LOOK_INTERVAL: Final = timedelta(seconds=5)
REFRESH_INTERVAL: Final = timedelta(minutes=5)
_CHUNK: Final = 16 * 1024

Read = Callable[[], bytes]


class KeySet:
    """The keys, read when they are first asked for.

    Args:
        read: reads the document; blocks, and raises OSError or ValueError.
        clock: the present time.
    """

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._content: bytes | None = None
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._looked: datetime | None = None
        self._look: asyncio.Task[None] | None = None
        # Grows with every change, so that what was verified by other keys can be forgotten.
        self.version = 0

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key of that id, if there is one.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the source has never answered yet.
        """
        if key_id not in self._keys:
            self._look_after(LOOK_INTERVAL)
            if self._look is not None:
                # Shared, and without end for nobody: whoever leaves or has waited enough does not stop it.
                await asyncio.wait([self._look], timeout=FETCH_SECONDS)
        if self._content is None:
            raise dependency_unavailable("key set")
        return self._keys.get(key_id)

    def refresh(self) -> None:
        """Look again in the background where it is time to."""
        self._look_after(REFRESH_INTERVAL)

    def _look_after(self, interval: timedelta) -> None:
        now = self._clock()
        if self._look is None and (self._looked is None or now - self._looked >= interval):
            self._looked = now
            self._look = asyncio.create_task(self._load(), name="key set")

    async def _load(self) -> None:
        try:
            content = await asyncio.to_thread(self._read)
            if content != self._content:
                self._keys = parsed(content)
                self._content = content
                self.version += 1
        except (OSError, ValueError, HTTPException) as error:
            # Away, half-written or none: the keys we have stay good, and somebody looks again.
            log.warning("the key set could not be read", extra={"error": str(error)})
        finally:
            self._look = None


def parsed(content: bytes) -> dict[str, jwt.PyJWK]:
    """Return the keys of a JWK set that can verify tokens here, by their ids.

    Raises:
        ValueError: it is no JWK set, or holds no key of use.
    """
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(content)).keys
    except (jwt.PyJWTError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"is no JWK set: {error}") from error
    usable = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in ALGORITHMS}
    if not usable:
        raise ValueError(f"holds no key with an id for {', '.join(ALGORITHMS)}")
    return usable


@dataclass(frozen=True, slots=True)
class File:
    """A JWK set in a file."""

    path: Path

    def read(self) -> bytes:
        """Read it."""
        with self.path.open("rb") as file:
            return _bounded(file.read(MAX_BYTES + 1))


@dataclass(frozen=True, slots=True)
class Web:
    """A JWK set behind a URL; redirects are not followed, for they could lead away from TLS.

    Raises:
        ValueError: it is no https URL, nor one of this machine.
    """

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if not local and (parts.scheme != "https" or not parts.hostname):
            raise ValueError("is no https:// URL")

    def read(self) -> bytes:
        """Fetch it."""
        deadline = monotonic() + FETCH_SECONDS
        content = b""
        with urllib.request.build_opener(_NoRedirects).open(self.url, timeout=FETCH_SECONDS) as response:
            while chunk := response.read1(_CHUNK):
                content = _bounded(content + chunk)
                if monotonic() > deadline:
                    raise TimeoutError("the source is too slow")
        return content


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_request: object) -> None:
        """Follow none: what was asked for stays an error."""


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    return content
