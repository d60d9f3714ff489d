"""The keys that verify access tokens: a JWK set (RFC 7517) from a file or a URL.

A background task reads the set again every few minutes, so that removed keys expire. A token that names an unknown key
causes a read too, at most every few seconds. Calls with a known key never wait for the source, and the keys stay valid
while the source is down.
"""

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import jwt

from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import dependency_unavailable

log = logging.getLogger(__name__)

# The id of the key of `ticketing.chassis.development`.
DEVELOPMENT_KEY_ID: Final = "first-try"
ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
MAX_BYTES: Final = 256 * 1024
FETCH_SECONDS: Final = 5.0
# Any caller can name keys that do not exist: the interval bounds the reads that such tokens cause.
MIN_FETCH_INTERVAL: Final = timedelta(seconds=5)
REFRESH_SECONDS: Final = 300.0
_CHUNK: Final = 16 * 1024

Read = Callable[[], bytes]


class KeySet:
    """The current keys of one source; `read` blocks, and raises an error where it has no valid set."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._content: bytes | None = None
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetch_time: datetime | None = None
        self._fetch: asyncio.Task[Exception | None] | None = None
        # The version grows with every change, so that caches of verified tokens can be cleared.
        self.version = 0

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key with that id; None if there is none.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE while the source has never answered.
        """
        if key_id not in self._keys:
            now = self._clock()
            fetch = self._fetch
            if fetch is None and (self._fetch_time is None or now - self._fetch_time >= MIN_FETCH_INTERVAL):
                fetch = self._begin_fetch()
            if fetch is not None:
                # All callers share one fetch; `wait` does not cancel it when a caller leaves or its wait ends.
                await asyncio.wait([fetch], timeout=FETCH_SECONDS)
        if self._content is None:
            raise dependency_unavailable("key set")
        return self._keys.get(key_id)

    async def sweep(self) -> bool:
        """Read the set again; raise the error of the source, with which the present keys stay."""
        if error := await asyncio.shield(self._fetch or self._begin_fetch()):
            raise error
        return False

    def _begin_fetch(self) -> "asyncio.Task[Exception | None]":
        self._fetch_time = self._clock()
        self._fetch = asyncio.create_task(self._load(), name="key set")
        return self._fetch

    async def _load(self) -> Exception | None:
        """Read the set; return the error of the source, which the background task reports at its next turn."""
        try:
            content = await asyncio.to_thread(self._read)
            if content != self._content:
                self._keys = parse_key_set(content)
                if DEVELOPMENT_KEY_ID in self._keys:
                    log.warning("a development key is accepted: whoever has it may act as anybody")
                self._content = content
                self.version += 1
        except Exception as error:  # noqa: BLE001 - half-written sets and broken libraries must not end a caller
            return error
        else:
            return None
        finally:
            self._fetch = None


def parse_key_set(content: bytes) -> dict[str, jwt.PyJWK]:
    """Return the keys of a JWK set that can verify access tokens, by their ids.

    Raises:
        ValueError: the content is no JWK set, or has no usable key.
    """
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(content)).keys
    except (jwt.PyJWTError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"is no JWK set: {error}") from error
    usable = {key.key_id: key for key in keys if key.key_id and key.algorithm_name in ALGORITHMS}
    if not usable:
        raise ValueError(f"has no key with an id for {', '.join(ALGORITHMS)}")
    return usable


@dataclass(frozen=True, slots=True)
class JwksFile:
    """A JWK set in a file."""

    path: Path

    def read(self) -> bytes:
        """Read the file."""
        with self.path.open("rb") as file:
            return _bounded(file.read(MAX_BYTES + 1))


@dataclass(frozen=True, slots=True)
class JwksUrl:
    """A JWK set at a URL; redirects are not followed, because they could leave TLS.

    Raises:
        ValueError: the URL is neither https nor on this machine.
    """

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if not local and (parts.scheme != "https" or not parts.hostname):
            raise ValueError("is no https:// URL")

    def read(self) -> bytes:
        """Fetch the URL."""
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
        """Follow no redirect, so that urllib raises HTTPError."""


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    return content
