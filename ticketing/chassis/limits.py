"""Limits of calls and streams, per caller and in total: excess calls are refused at once, never queued.

The calls of the other service pass every limit: they must succeed while a service refuses its other callers.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge

from ticketing.chassis.addresses import Network, client_address, forwarded_peer
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failed_authentication import FailedAuthentications
from ticketing.chassis.failures import overloaded
from ticketing.chassis.rate_limiter import RateLimiter
from ticketing.chassis.retry_turns import RetryTurns

UNDER_WAY = Gauge("grpc_server_calls_under_way", "Unary calls under way.")
BURST_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process; the defaults are far above the load of any usual caller."""

    # Unary calls under way, of all callers.
    calls: int = 512
    # Unary calls and opened streams per second, of one caller; a burst may be twice as large.
    calls_per_second: int = 2_000
    # The open streams of one caller.
    streams: int = 1_000
    # Refused credentials per second, of one address; a burst may be fifteen times as large.
    failed_credentials_per_second: int = 20
    # The open streams of one device, which needs two, and two more until the network drops dead ones.
    device_streams: int = 16


class CallLimiter:
    """The counts of the calls and streams of a process, and their limits.

    Calls that arrive from the `trusted` proxies count for the address that these report.
    """

    def __init__(self, limits: Limits, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted
        self.failures = FailedAuthentications(limits.failed_credentials_per_second)
        self._limits = limits
        self._calls = 0
        self._under_way = _UnderWay(self._end_call)
        self._rate = RateLimiter(limits.calls_per_second, BURST_SECONDS * limits.calls_per_second)
        self._streams = Counter[Hashable]()
        self._call_turns, self._stream_turns = RetryTurns(), RetryTurns()
        UNDER_WAY.set_function(lambda: self._calls)

    def peer(self, peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Return the gRPC address of the caller, which differs from that of the connection behind a trusted proxy."""
        return forwarded_peer(peer, metadata, self._trusted) if self._trusted else peer

    def call(self, caller: Caller | None, address: str = "") -> AbstractContextManager[None]:
        """Count a unary call as under way until the returned context ends, or raise OVERLOADED.

        `caller` is None where it needs no credential; the call then counts for its address.
        """
        if caller is not None and caller.is_any(Role.PEER):
            return nullcontext()
        self._check_rate(caller, address)
        if self._calls >= self._limits.calls:
            raise overloaded("calls", self._call_turns.take(_key(caller, address)))
        self._calls += 1
        return self._under_way

    @contextmanager
    def stream(self, caller: Caller | None, address: str) -> Iterator[None]:
        """Count a stream as open, or raise OVERLOADED."""
        self._check_rate(caller, address)
        key = _key(caller, address)
        device = caller is not None and caller.is_any(Role.DEVICE)
        if self._streams[key] >= (self._limits.device_streams if device else self._limits.streams):
            raise overloaded("streams of one caller", self._stream_turns.take(key))
        self._streams[key] += 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def _end_call(self) -> None:
        self._calls -= 1

    def _check_rate(self, caller: Caller | None, address: str) -> None:
        if caller is not None and caller.is_any(Role.SERVICE, Role.PEER):
            # A backend calls on behalf of many users.
            return
        key = _key(caller, address)
        if wait := self._rate.wait(key):
            raise overloaded("calls of one caller", wait)
        self._rate.take(key)


class _UnderWay(AbstractContextManager[None]):
    """The context of every unary call under way; a generator for each of them would take three times as long."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __exit__(self, *error: object) -> None:
        self._end()


def _key(caller: Caller | None, address: str) -> Hashable:
    if caller is None:
        return client_address(address)
    return caller.is_any(Role.DEVICE), caller.subject
