"""Failed authentication, counted by the address of its callers before any look-up or signature.

An attacker with invented credentials would otherwise occupy the database and the processor of all callers. Credentials
that are known to be good, or refused a moment ago, cost nothing and are not counted.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter

from ticketing.chassis.addresses import client_address
from ticketing.chassis.failures import (
    DEPENDENCY_UNAVAILABLE,
    INVALID_ARGUMENT,
    OVERLOADED,
    RETRY_SOON,
    Failure,
    overloaded,
)
from ticketing.chassis.rate_limiter import RateLimiter

log = logging.getLogger(__name__)

FAILURES: Final = Counter(
    "grpc_server_failed_authentications_total", "Refused credentials, by the cause of their refusal.", ["cause"]
)
TOO_MANY: Final = "too many invalid credentials of one address"
# The devices of a venue share an address, and may all connect in the same second: each counts while it is looked up.
BURST_SECONDS: Final = 15
# These failures say nothing about a credential.
UNCOUNTED: Final = frozenset({DEPENDENCY_UNAVAILABLE, INVALID_ARGUMENT, OVERLOADED})
# Calls beyond the maximum are answered at once.
DELAY_SECONDS: Final = 1.0
MAX_DELAYED: Final = 5_000
# One line a minute for each address, and ten of all addresses.
LINES_PER_SECOND: Final = 1 / 60
MAX_LINES: Final = 10


class FailedAuthentications:
    """The failures of each address, in buckets that refill with `per_second`."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempts = RateLimiter(per_second, BURST_SECONDS * per_second, clock)
        # All refusals, also those that cost no look-up.
        self._refusals = RateLimiter(per_second, BURST_SECONDS * per_second, clock)
        self._delayed = 0
        self._lines = RateLimiter(LINES_PER_SECOND, 1, clock)
        self._all_lines = RateLimiter(MAX_LINES * LINES_PER_SECOND, MAX_LINES, clock)

    @contextmanager
    def attempt(self, peer: str) -> Iterator[None]:
        """Count the work on an unknown credential of `peer`, a gRPC address, unless the credential proves good.

        Raises:
            Failure: OVERLOADED before the work, if the address had too many failures. It is no refusal of the credential:
                a caller behind the same address may be genuine.
        """
        address = client_address(peer)
        if wait := self._attempts.wait(address):
            self._report(address, TOO_MANY)
            raise overloaded(TOO_MANY, max(wait, RETRY_SOON))
        # Taken first, so that concurrent attempts count. A caller that leaves early gets nothing back.
        self._attempts.take(address)
        try:
            yield
        except Failure as failure:
            if failure.reason in UNCOUNTED:
                self._attempts.give_back(address)
            raise
        self._attempts.give_back(address)

    async def refuse(self, peer: str, failure: Failure) -> None:
        """Count a refused credential by its cause, log it, bounded, and delay the answer to an address with many refusals.

        A connection has a hundred streams, so it makes at most a hundred delayed calls a second. Without a delay, one
        connection occupied the event loop with 2,600 refusals a second.
        """
        address = client_address(peer)
        has_many = bool(self._refusals.wait(address))
        if failure.reason not in UNCOUNTED:
            self._report(address, failure.metadata.get("cause", failure.reason))
        if has_many and self._delayed < MAX_DELAYED:
            self._delayed += 1
            try:
                await asyncio.sleep(DELAY_SECONDS)
            finally:
                self._delayed -= 1

    def _report(self, address: str, cause: str) -> None:
        FAILURES.labels(cause).inc()
        self._refusals.take(address)
        if self._lines.wait(address) or self._all_lines.wait(None):
            return
        self._lines.take(address)
        self._all_lines.take(None)
        log.warning("a credential was refused", extra={"address": address, "cause": cause})
