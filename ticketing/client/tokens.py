"""The access token of a channel: asked for once, again before it expires, and again once a service refuses it."""

import asyncio
import base64
import inspect
import json
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger(__name__)

# A token is renewed in the last tenth of its time, but not earlier than this before it expires.
MAX_SECONDS_BEFORE: Final = 60.0

TokenSource = str | Callable[[], str]
AsyncTokenSource = str | Callable[[], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and two moments of the wall clock, in seconds since 1970."""

    text: str
    renew_time: float = math.inf
    expire_time: float = math.inf

    def serves(self, *, is_renewing: bool) -> bool:
        """Return whether a call can use the token; `is_renewing` says that another call asks for the next one."""
        return time.time() < (self.expire_time if is_renewing else self.renew_time)


def token_of(text: str) -> Token:
    """Read the time of expiry (`exp`) of a JWT; any other token, such as a device token, never expires.

    White space around the text, such as the end of the line of a file, is no part of the token.
    """
    text = text.strip()
    try:
        payload = text.split(".")[1]
        expire_time = float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return Token(text)
    before = min(MAX_SECONDS_BEFORE, (expire_time - time.time()) / 10)
    return Token(text, expire_time - before, expire_time)


_NONE: Final = Token("", -math.inf, -math.inf)


class _Tokens:
    """The present token of a channel."""

    def __init__(self) -> None:
        self._token = _NONE

    def drop(self, refused: str | None) -> None:
        """Forget a token that a service refused."""
        if self._token.text == refused:
            self._token = _NONE

    def _stays(self, error: Exception) -> bool:
        """Return whether the present token still serves after the source failed."""
        stays = self._token.serves(is_renewing=True)
        if stays:
            log.warning("the source of access tokens failed; the present token stays", exc_info=error)
        return stays


class Tokens(_Tokens):
    """The tokens of a channel that many threads use; one of them asks the source at a time."""

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source: Callable[[], str] = (lambda: source) if isinstance(source, str) else source
        self._lock = threading.Lock()

    def get(self) -> str:
        """Return the present token, or the next one of the source."""
        if not self._token.serves(is_renewing=self._lock.locked()):
            with self._lock:
                if not self._token.serves(is_renewing=False):
                    try:
                        self._token = token_of(self._source())
                    except Exception as error:
                        if not self._stays(error):
                            raise
        return self._token.text

    def replace(self, refused: str) -> bool:
        """Forget a token that a service refused; return whether the source has another one."""
        self.drop(refused)
        return self.get() != refused


class AsyncTokens(_Tokens):
    """The tokens of a channel of asyncio; one task asks the source at a time."""

    def __init__(self, source: AsyncTokenSource) -> None:
        super().__init__()
        self._source: Callable[[], Any] = (lambda: source) if isinstance(source, str) else source
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Return the present token, or the next one of the source."""
        if not self._token.serves(is_renewing=self._lock.locked()):
            async with self._lock:
                if not self._token.serves(is_renewing=False):
                    try:
                        answer = self._source()
                        self._token = token_of(await answer if inspect.isawaitable(answer) else answer)
                    except Exception as error:
                        if not self._stays(error):
                            raise
        return self._token.text

    async def replace(self, refused: str) -> bool:
        """Forget a token that a service refused; return whether the source has another one."""
        self.drop(refused)
        return await self.get() != refused
