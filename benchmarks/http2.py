"""A load generator that is not the bottleneck: raw HTTP/2 on sockets, with just enough of gRPC to ask and be answered.

A grpc.aio client costs more than the server that it measures. This one spends a few microseconds on a message: requests
are encoded beforehand, headers are sent without compression and received without being read, and answers are kept as
bytes, to be looked at once the clock has stopped.
"""

import selectors
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
FRAME_HEADER: Final = 9
MESSAGE_HEADER: Final = 5
# Flow control of our side is switched off: no run receives 2 GiB on one connection. The other side's is not watched:
# one small message is under way at a time, and the server gives back what it has read.
WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
RECEIVE_BYTES: Final = 65_536
# A server that answers nothing for so long has failed.
SILENCE_SECONDS: Final = 30.0


class LoadError(Exception):
    """The server did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one generator sends.

    Args:
        addresses: of the servers; connections are dealt out to them in turn.
        path: of the RPC.
        metadata: with every call.
        connections: each has one message unanswered at a time.
        first: opens a stream, on each connection, before the clock starts; None: every message is a unary call.
        messages: serialized, in the order in which they are sent.
        warm_up: how many of them are not measured.
        seconds: how long is measured, at most.
        rate: messages a second over all connections, sent on time whatever the answers take; None: as fast as they are
            answered.
    """

    addresses: Sequence[tuple[str, int]]
    path: str
    metadata: Sequence[tuple[str, str]]
    connections: int
    first: bytes | None
    messages: Sequence[bytes]
    warm_up: int
    seconds: float
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a plan."""

    # Of what was measured alone, serialized, by time of arrival.
    answers: Sequence[bytes]
    # One for each answer, in seconds; at a given rate from the moment when the message was due.
    latencies: "array[float]"
    seconds: float
    # Of a core, spent by the generator itself.
    cpu_share: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.seconds


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def _header(name: str, value: str) -> bytes:
    """Write one header field: literal, never indexed, not Huffman-coded (RFC 7541, 6.2.3)."""
    encoded = b"\x10"
    for text in (name.encode(), value.encode()):
        if len(text) < 127:  # noqa: PLR2004 - RFC 7541, 5.1: what fits in a prefix of seven bits
            encoded += bytes((len(text),)) + text
            continue
        rest = len(text) - 127
        encoded += b"\x7f"
        while rest >= 128:  # noqa: PLR2004 - as above
            encoded += bytes((rest % 128 + 128,))
            rest //= 128
        encoded += bytes((rest,)) + text
    return encoded


def _message(payload: bytes) -> bytes:
    return b"\x00" + len(payload).to_bytes(4, "big") + payload


@dataclass(slots=True)
class Connection:
    """One connection to the server, with at most one message unanswered."""

    plan: Plan
    address: tuple[str, int]
    wire: socket.socket = field(init=False)
    sent_at: float = 0.0
    _headers: bytes = field(init=False)
    _stream_id: int = 1
    _received: bytes = b""
    _body: bytes = b""

    def __post_init__(self) -> None:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self.plan.path),
            (":authority", f"{self.address[0]}:{self.address[1]}"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *self.plan.metadata,
        ]
        self._headers = b"".join(_header(name, value) for name, value in fields)
        self.wire = socket.create_connection(self.address)
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = SETTINGS_INITIAL_WINDOW_SIZE.to_bytes(2, "big") + WINDOW.to_bytes(4, "big")
        greeting = PREFACE + _frame(SETTINGS, 0, 0, window)
        greeting += _frame(WINDOW_UPDATE, 0, 0, (WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
        if self.plan.first is not None:
            greeting += self._open() + _frame(DATA, 0, self._stream_id, _message(self.plan.first))
        self.wire.sendall(greeting)
        self.wire.setblocking(False)  # noqa: FBT003 - its only parameter

    def _open(self) -> bytes:
        return _frame(HEADERS, END_HEADERS, self._stream_id, self._headers)

    def ask(self, message: bytes, at: float) -> None:
        """Send a message; its answer is waited for from `at` on."""
        self.sent_at = at
        if self.plan.first is None:
            request = self._open() + _frame(DATA, END_STREAM, self._stream_id, _message(message))
        else:
            request = _frame(DATA, 0, self._stream_id, _message(message))
        if self.wire.send(request) != len(request):
            raise LoadError("a small message did not fit into the socket")

    def receive(self) -> bytes | None:
        """Take in what has come; return the answer once it is whole."""
        arrived = self.wire.recv(RECEIVE_BYTES)
        if not arrived:
            raise LoadError("the server closed the connection")
        received = self._received + arrived if self._received else arrived
        position, answer = 0, None
        while len(received) - position >= FRAME_HEADER:
            end = position + FRAME_HEADER + int.from_bytes(received[position : position + 3], "big")
            if end > len(received):
                break
            payload = received[position + FRAME_HEADER : end]
            answer = self._take(received[position + 3], received[position + 4], payload) or answer
            position = end
        self._received = received[position:]
        return answer

    def _take(self, kind: int, flags: int, payload: bytes) -> bytes | None:
        if kind == DATA:
            self._body += payload
        elif kind == SETTINGS and not flags & ACK:
            self.wire.send(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.wire.send(_frame(PING, ACK, 0, payload))
        elif kind in {RST_STREAM, GOAWAY}:
            raise LoadError(f"the server ended the {'connection' if kind == GOAWAY else 'stream'}: {payload!r}")
        is_ended = kind in {DATA, HEADERS} and bool(flags & END_STREAM)
        return self._ended() if self.plan.first is None and is_ended else self._streamed(is_ended=is_ended)

    def _ended(self) -> bytes:
        """Take a unary call's answer: without a message it was an error, whose text is in headers we do not read."""
        answer = self._whole()
        if answer is None:
            raise LoadError(f"{self.plan.path} was answered with an error")
        self._stream_id += 2
        return answer

    def _streamed(self, *, is_ended: bool) -> bytes | None:
        if is_ended:
            raise LoadError(f"the server ended the stream of {self.plan.path}")
        return None if self.plan.first is None else self._whole()

    def _whole(self) -> bytes | None:
        size = MESSAGE_HEADER + int.from_bytes(self._body[1:MESSAGE_HEADER], "big")
        if len(self._body) < MESSAGE_HEADER or len(self._body) < size:
            return None
        message, self._body = self._body[MESSAGE_HEADER:size], self._body[size:]
        return message


class Generator:
    """Carries out one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._idle = deque[Connection]()

    def run(self) -> Measured:
        """Send and measure.

        Raises:
            LoadError: the server answered with an error, or not at all.
        """
        connections = [
            Connection(self._plan, self._plan.addresses[n % len(self._plan.addresses)])
            for n in range(self._plan.connections)
        ]
        for connection in connections:
            self._selector.register(connection.wire, selectors.EVENT_READ, connection)
        try:
            if self._plan.first is None:
                self._idle.extend(connections)
            while len(self._idle) < len(connections):
                self._idle.extend(connection for connection, _ in self._answers(SILENCE_SECONDS))
            messages = iter(self._plan.messages)
            self._measure([next(messages) for _ in range(self._plan.warm_up)], None, SILENCE_SECONDS)
            return self._measure(messages, self._plan.rate, self._plan.seconds)
        finally:
            self._selector.close()
            for connection in connections:
                connection.wire.close()

    def _measure(self, given: Sequence[bytes] | Iterator[bytes], rate: float | None, seconds: float) -> Measured:
        answers, latencies, messages = list[bytes](), array("d"), iter(given)
        sent, message = 0, next(messages, None)
        begin, cpu = time.perf_counter(), time.process_time()
        end = begin + seconds
        while True:
            now = time.perf_counter()
            while message is not None and self._idle and now < end:
                due = now if rate is None else begin + sent / rate
                if due > now:
                    break
                self._idle.popleft().ask(message, due)
                sent, message = sent + 1, next(messages, None)
            if len(self._idle) == self._plan.connections and (message is None or now >= end):
                break
            wait = SILENCE_SECONDS if rate is None or not self._idle else max(0.0, begin + sent / rate - now)
            for connection, answer in self._answers(wait, is_silence_wrong=rate is None):
                latencies.append(time.perf_counter() - connection.sent_at)
                answers.append(answer)
                self._idle.append(connection)
        spent = time.perf_counter() - begin
        return Measured(answers, latencies, spent, (time.process_time() - cpu) / spent)

    def _answers(self, seconds: float, *, is_silence_wrong: bool = True) -> Iterator[tuple[Connection, bytes]]:
        ready = self._selector.select(seconds)
        if not ready and is_silence_wrong:
            raise LoadError(f"no answer in {seconds} seconds")
        for key, _ in ready:
            if (answer := key.data.receive()) is not None:
                yield key.data, answer
