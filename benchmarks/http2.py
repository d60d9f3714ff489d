"""A load generator that is not the bottleneck: raw HTTP/2 on sockets, with the part of gRPC that calls need.

A grpc.aio client costs more CPU than the server that it measures. This generator spends a few microseconds on a message:
requests are encoded before the measurement, and answers stay bytes until it has ended. Headers are sent
without compression and received without decoding.
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
NO_ERROR: Final = b"\0\0\0\0"
FRAME_HEADER: Final = 9
MESSAGE_HEADER: Final = 5
# The largest window switches the flow control of the generator off: no run receives 2 GiB on one connection. The window
# of the server is not tracked: one small message is in flight at a time, and the server reopens its window as it reads.
WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
SETTINGS_HEADER_TABLE_SIZE: Final = 1
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
# A setting of gRPC: values of binary headers are sent as they are, instead of in Base64 with Huffman coding.
SETTINGS_TRUE_BINARY: Final = 0xFE03
RECEIVE_BYTES: Final = 65_536
# A server that sends no answer for this time has failed.
SILENCE_SECONDS: Final = 30.0


class LoadError(Exception):
    """The server sent an error, closed the connection or sent no answer."""


class Refusal(bytes):
    """The trailers of a call that failed; each name and value stands in them as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The serialized messages that one generator sends, and their rate."""

    # The connections go to the servers in turn.
    addresses: Sequence[tuple[str, int]]
    path: str
    metadata: Sequence[tuple[str, str]]
    # The number of connections; each has one unanswered message at a time.
    connections: int
    # The message that opens a stream on each connection before the measurement; None: every message is a unary call.
    first: bytes | None
    messages: Sequence[bytes]
    # The number of messages at the start that are not measured.
    warm_up: int
    seconds: float
    # Messages a second over all connections, on schedule even when answers are slow; None: each message follows its answer at once.
    rate: float | None = None
    # Whether a failed call has a Refusal as its answer; otherwise it raises LoadError.
    expects_refusals: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """The answers and latencies of one run."""

    # The serialized answers by arrival, without those of the warm-up.
    answers: Sequence[bytes]
    # Seconds for each answer; with a rate they begin at the scheduled time of the message.
    latencies: "array[float]"
    seconds: float
    # The share of one core that the generator itself used.
    cpu_share: float

    @property
    def rate(self) -> float:
        """Return the answers a second."""
        return len(self.answers) / self.seconds


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Encode one frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def header(name: str, value: str) -> bytes:
    """Encode one literal header field, never indexed, without Huffman coding (RFC 7541, 6.2.3)."""
    encoded = b"\x10"
    for text in (name.encode(), value.encode()):
        if len(text) < 127:  # noqa: PLR2004 - RFC 7541, 5.1: the limit of a prefix of seven bits
            encoded += bytes((len(text),)) + text
            continue
        rest = len(text) - 127
        encoded += b"\x7f"
        while rest >= 128:  # noqa: PLR2004 - one continuation byte has seven bits
            encoded += bytes((rest % 128 + 128,))
            rest //= 128
        encoded += bytes((rest,)) + text
    return encoded


def _message(payload: bytes) -> bytes:
    return b"\x00" + len(payload).to_bytes(4, "big") + payload


@dataclass(slots=True)
class LoadConnection:
    """One connection to the server with at most one unanswered message."""

    plan: LoadPlan
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
        self._headers = b"".join(header(name, value) for name, value in fields)
        self.wire = socket.create_connection(self.address)
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = {SETTINGS_INITIAL_WINDOW_SIZE: WINDOW}
        if self.plan.expects_refusals:
            # The server then sends trailers that need no decoder.
            settings |= {SETTINGS_HEADER_TABLE_SIZE: 0, SETTINGS_TRUE_BINARY: 1}
        entries = (kind.to_bytes(2, "big") + value.to_bytes(4, "big") for kind, value in settings.items())
        greeting = PREFACE + frame(SETTINGS, 0, 0, b"".join(entries))
        greeting += frame(WINDOW_UPDATE, 0, 0, (WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
        if self.plan.first is not None:
            greeting += self._open() + frame(DATA, 0, self._stream_id, _message(self.plan.first))
        self.wire.sendall(greeting)
        self.wire.setblocking(False)  # noqa: FBT003 - its only parameter

    def reopen(self) -> None:
        """Open a stream anew after the server refused or ended it."""
        self.wire.send(self._open() + frame(DATA, 0, self._stream_id, _message(self.plan.first or b"")))

    def _open(self) -> bytes:
        return frame(HEADERS, END_HEADERS, self._stream_id, self._headers)

    def ask(self, message: bytes, at: float) -> None:
        """Send a message; its latency begins at `at`."""
        self.sent_at = at
        if self.plan.first is None:
            request = self._open() + frame(DATA, END_STREAM, self._stream_id, _message(message))
        else:
            request = frame(DATA, 0, self._stream_id, _message(message))
        if self.wire.send(request) != len(request):
            raise LoadError("the socket did not accept a whole message")

    def receive(self) -> bytes | None:
        """Read the received bytes; return the answer as soon as it is complete."""
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
            answer = self._handle(received[position + 3], received[position + 4], payload) or answer
            position = end
        self._received = received[position:]
        return answer

    def _handle(self, kind: int, flags: int, payload: bytes) -> bytes | None:
        if kind == DATA:
            self._body += payload
        elif kind == SETTINGS and not flags & ACK:
            self.wire.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.wire.send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM and payload == NO_ERROR and self.plan.expects_refusals:
            # gRPC resets a refused stream whose caller has not closed its side.
            pass
        elif kind in {RST_STREAM, GOAWAY}:
            raise LoadError(f"the server ended the {'connection' if kind == GOAWAY else 'stream'}: {payload!r}")
        return self._end(payload, is_ended=kind in {DATA, HEADERS} and bool(flags & END_STREAM))

    def _end(self, payload: bytes, *, is_ended: bool) -> bytes | None:
        if is_ended and self.plan.expects_refusals and not self._body:
            self._stream_id += 2
            return Refusal(payload)
        if self.plan.first is not None:
            if is_ended:
                raise LoadError(f"the server ended the stream of {self.plan.path}")
            return self._whole()
        if not is_ended:
            return None
        answer = self._whole()
        if answer is None:
            # A unary call without a message has failed; the text of the error is in undecoded headers.
            raise LoadError(f"{self.plan.path} returned an error")
        self._stream_id += 2
        return answer

    def _whole(self) -> bytes | None:
        size = MESSAGE_HEADER + int.from_bytes(self._body[1:MESSAGE_HEADER], "big")
        if len(self._body) < MESSAGE_HEADER or len(self._body) < size:
            return None
        message, self._body = self._body[MESSAGE_HEADER:size], self._body[size:]
        return message


class LoadGenerator:
    """The run of one plan."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._idle = deque[LoadConnection]()

    def run(self) -> Measurement:
        """Run the plan and measure it."""
        connections = [
            LoadConnection(self._plan, self._plan.addresses[n % len(self._plan.addresses)])
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

    def _measure(self, unsent: Sequence[bytes] | Iterator[bytes], rate: float | None, seconds: float) -> Measurement:
        answers, latencies, messages = list[bytes](), array("d"), iter(unsent)
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
        return Measurement(answers, latencies, spent, (time.process_time() - cpu) / spent)

    def _answers(self, seconds: float, *, is_silence_wrong: bool = True) -> Iterator[tuple[LoadConnection, bytes]]:
        ready = self._selector.select(seconds)
        if not ready and is_silence_wrong:
            raise LoadError(f"the server sent no answer for {seconds} seconds")
        for key, _ in ready:
            if (answer := key.data.receive()) is not None:
                yield key.data, answer
