"""A crowd: more callers than a service can serve, of which each obeys the retry times of its refusals, or none does."""

import heapq
import re
import selectors
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from google.rpc import error_details_pb2

from benchmarks.http2 import LoadConnection, LoadPlan, Refusal
from ticketing.scans.v1 import error_reason_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The first byte of a rejection on a scan stream, by the number of its field.
REJECTED = 0x2A
_STATUS: Final = re.compile(rb"grpc-status[\x01\x02](\d+)")
_PUSHBACK: Final = re.compile(rb"grpc-retry-pushback-ms.(-?\d+)")
_REASON: Final = re.compile(rb"ERROR_REASON_([A-Z_]+)")
_RETRY_INFO: Final = b"google.rpc.RetryInfo\x12"
# The service must have answered everything this time after the last message.
DRAIN_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Refused:
    """The content of a refusal: its reason, and the seconds after which the caller may try again; None: no time."""

    reason: str
    retry_seconds: float | None


@dataclass
class Reaction:
    """The answers to a crowd after its settling time; all times are in seconds."""

    # The time of the answer of each accepted message, from the try that was accepted.
    accepted: "array[float]" = field(default_factory=lambda: array("d"))
    # The time of each refusal, from the try that was refused.
    refused: "array[float]" = field(default_factory=lambda: array("d"))
    # The refusals by reason, and how many of them named no retry time.
    reasons: Counter[str] = field(default_factory=Counter)
    without_retry: int = 0
    max_retry: float = 0.0
    # The messages without an answer DRAIN_SECONDS after the last one.
    unanswered: int = 0
    offered: int = 0
    # The accepted messages that were answered before the end of the measurement.
    in_time: int = 0
    seconds: float = 0.0
    # The share of one core that the crowd itself used.
    cpu_share: float = 0.0


def read_refusal(answer: bytes) -> Refused | None:
    """Return what a refusal says; None for any other answer."""
    if isinstance(answer, Refusal):
        return _of_trailers(answer)
    if answer[:1] != bytes((REJECTED,)):
        return None
    rejected = pb.StreamScansResponse.FromString(answer).rejected
    retry = rejected.retry_after.ToNanoseconds() / 1e9 if rejected.HasField("retry_after") else None
    return Refused(error_reason_pb2.ErrorReason.Name(rejected.reason).removeprefix("ERROR_REASON_"), retry)


def _of_trailers(trailers: bytes) -> Refused:
    reason, pushback, status = (pattern.search(trailers) for pattern in (_REASON, _PUSHBACK, _STATUS))
    name = reason[1].decode() if reason else f"status {status[1].decode() if status else trailers!r}"
    if pushback and int(pushback[1]) >= 0:
        return Refused(name, int(pushback[1]) / 1e3)
    # gRPC itself must not wait as long as RetryInfo says.
    _, found, info = trailers.partition(_RETRY_INFO)
    if not found:
        return Refused(name, None)
    retry = error_details_pb2.RetryInfo.FromString(info[1 : 1 + info[0]])
    return Refused(name, retry.retry_delay.ToNanoseconds() / 1e9)


@dataclass(slots=True, eq=False)
class _Caller:
    """One caller with a connection of its own, and at most one unanswered message."""

    connection: LoadConnection
    # The last sent message; None: the one that opens the stream.
    message: bytes | None = None


class Crowd:
    """The run of one crowd; `obeys` is whether callers wait after a refusal and send the same message again.

    Callers that do not obey send the next message: at the rate of the plan, or at once. Answers of the first
    `settle_seconds` are not measured.
    """

    def __init__(self, plan: LoadPlan, *, obeys: bool, settle_seconds: float = 1.0) -> None:
        self._plan = plan
        self._obeys = obeys
        self._settle_seconds = settle_seconds
        self._selector = selectors.DefaultSelector()
        self._messages: Iterator[bytes] = iter(plan.messages)
        self._idle = deque[_Caller]()
        # The callers that wait after a refusal, by the time at which they try again.
        self._resting: list[tuple[float, int, _Caller]] = []
        self._ids = count()
        self._busy = 0
        self._measured_from = 0.0
        self._reaction = Reaction()

    def run(self) -> Reaction:
        """Run the crowd and return how the service reacted."""
        callers = [self._connect(number) for number in range(self._plan.connections)]
        try:
            self._run()
            return self._reaction
        finally:
            self._selector.close()
            for caller in callers:
                caller.connection.wire.close()

    def _connect(self, number: int) -> _Caller:
        caller = _Caller(LoadConnection(self._plan, self._plan.addresses[number % len(self._plan.addresses)]))
        self._selector.register(caller.connection.wire, selectors.EVENT_READ, caller)
        if self._plan.first is None:
            self._idle.append(caller)
        else:
            caller.connection.sent_at = time.perf_counter()
            self._busy += 1
        return caller

    def _run(self) -> None:
        begin = time.perf_counter()
        self._measured_from = begin + self._settle_seconds
        end = self._measured_from + self._plan.seconds
        cpu: float | None = None
        sent = 0
        while (now := time.perf_counter()) < end:
            if cpu is None and now >= self._measured_from:
                cpu, self._reaction.offered = time.process_time(), 0
            self._try_again(now)
            due = len(self._idle) if self._plan.rate is None else int((now - begin) * self._plan.rate) - sent
            for _ in range(min(due, len(self._idle))):
                self._ask(self._idle.popleft(), next(self._messages), now)
                sent += 1
            self._receive(self._wait(begin, sent, end - now, now))
        self._reaction.seconds = time.perf_counter() - self._measured_from
        self._reaction.cpu_share = (time.process_time() - (cpu or 0.0)) / self._reaction.seconds
        self._reaction.in_time = len(self._reaction.accepted)
        while self._busy and time.perf_counter() < end + DRAIN_SECONDS:
            self._receive(LOOK_SECONDS)
        self._reaction.unanswered = self._busy

    def _wait(self, begin: float, sent: int, left: float, now: float) -> float:
        wait = min(LOOK_SECONDS, left)
        if self._resting:
            wait = min(wait, self._resting[0][0] - now)
        if self._plan.rate is not None and self._idle:
            wait = min(wait, begin + (sent + 1) / self._plan.rate - now)
        return max(0.0, wait)

    def _ask(self, caller: _Caller, message: bytes, now: float) -> None:
        caller.connection.ask(message, now)
        caller.message = message
        self._busy += 1
        self._reaction.offered += 1

    def _try_again(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            caller = heapq.heappop(self._resting)[2]
            if caller.message is not None:
                self._ask(caller, caller.message, now)
                continue
            caller.connection.sent_at = now
            caller.connection.reopen()
            self._busy += 1
            self._reaction.offered += 1

    def _receive(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            caller: _Caller = key.data
            answer = caller.connection.receive()
            if answer is None:
                continue
            now = time.perf_counter()
            self._busy -= 1
            refused = read_refusal(answer)
            if now >= self._measured_from:
                self._count(refused, now - caller.connection.sent_at, is_opening=caller.message is None)
            if isinstance(answer, Refusal) and self._plan.first is not None:
                # The stream has ended.
                caller.message = None
            if refused is None or not (self._obeys or caller.message is None):
                self._idle.append(caller)
            else:
                seconds_of_rest = (refused.retry_seconds or 0.0) if self._obeys else 0.0
                heapq.heappush(self._resting, (now + seconds_of_rest, next(self._ids), caller))

    def _count(self, refused: Refused | None, seconds: float, *, is_opening: bool) -> None:
        reaction = self._reaction
        if refused is None:
            if not is_opening:
                reaction.accepted.append(seconds)
            return
        reaction.refused.append(seconds)
        reaction.reasons[refused.reason] += 1
        if refused.retry_seconds is None:
            reaction.without_retry += 1
        else:
            reaction.max_retry = max(reaction.max_retry, refused.retry_seconds)
