"""A memory of refused credentials, so that a repeated one costs neither a look-up nor a signature."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import UNAUTHENTICATED, Failure, unauthenticated

# The time that a refusal lasts: a key that signs tokens may be published, and a clock may reach the begin of a token.
REFUSED: Final = timedelta(seconds=5)
MAX_REFUSED: Final = 10_000


class RefusedTokens:
    """The digests of credentials that were refused a moment ago; the oldest are forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The cause of the refusal, and its end.
        self._refused = OrderedDict[bytes, tuple[str, datetime]]()

    def check(self, digest: bytes) -> None:
        """Refuse a credential that was refused within the time REFUSED, for the same cause."""
        refused = self._refused.get(digest)
        if refused is None:
            return
        cause, until = refused
        if self._clock() < until:
            raise unauthenticated(cause)
        del self._refused[digest]

    def add(self, digest: bytes, failure: Failure) -> None:
        """Remember an UNAUTHENTICATED credential; other failures say nothing about it."""
        if failure.reason != UNAUTHENTICATED:
            return
        self._refused[digest] = (failure.metadata["cause"], self._clock() + REFUSED)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def clear(self) -> None:
        """Forget all refusals."""
        self._refused.clear()
