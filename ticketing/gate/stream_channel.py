"""The channel of one thread of the device, and the streams that the thread opens on it, one after the other.

The keepalive of the channel ends a stream whose connection is dead. A stream can be silent on a live connection as well:
a proxy answers the pings for a service that is gone, or the call is never sent. Once a call of gRPC did not even end
when it was cancelled. So a thread of its own waits for the responses of each stream, and a stream that is silent for
too long is left behind, with that thread and the channel.
"""

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc

from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# A cancelled call ends within milliseconds.
END_SECONDS: Final = 1.0
# The interval at which a stream without responses is checked.
TICK_SECONDS: Final = 0.05
# The responses that a stream receives ahead; a response may have 100 kB.
MAX_AHEAD: Final = 4
# Each call that never ends keeps a thread and a channel.
MAX_LEFT_BEHIND: Final = 32
TOO_MANY_LEFT: Final = "calls to the service do not end: start this program again"

Response_co = TypeVar("Response_co", covariant=True)
Response = TypeVar("Response")


class SilentStreamError(Exception):
    """The service sent nothing for too long."""


class StreamCall(Protocol[Response_co]):
    """A call of gRPC with a stream of responses."""

    def __iter__(self) -> Iterator[Response_co]:
        """Yield the responses."""

    def cancel(self) -> Any:
        """Cancel the call."""


class StreamChannel:
    """A channel that is replaced once a stream on it was silent or did not end. One thread uses it."""

    def __init__(self, open_channel: Callable[[], grpc.Channel]) -> None:
        self._open_channel = open_channel
        self._channel: grpc.Channel | None = None
        self._left_behind: list[_Reader[Any]] = []

    @contextmanager
    def responses(
        self,
        open_call: Callable[[ScanServiceStub], StreamCall[Response]],
        is_stopped: Callable[[], bool],
        is_overdue: Callable[[float], bool],
    ) -> Iterator[Iterator[Response]]:
        """Open a stream, and return its responses until it ends or `is_stopped`; at the exit, end the stream.

        `is_overdue` takes the seconds since the last response was handled.

        Raises:
            grpc.RpcError: the call failed.
            SilentStreamError: the stream is overdue.
            RuntimeError: too many earlier calls have not ended.
        """
        self._left_behind = [reader for reader in self._left_behind if reader.is_alive]
        if len(self._left_behind) >= MAX_LEFT_BEHIND:
            raise RuntimeError(TOO_MANY_LEFT)
        channel = self._channel = self._channel or self._open_channel()
        reader = _Reader(lambda: open_call(ScanServiceStub(channel)))
        is_silent = False
        try:
            yield reader.responses(is_stopped, is_overdue)
        except SilentStreamError:
            is_silent = True
            raise
        finally:
            has_ended = reader.end()
            if not has_ended:
                self._left_behind.append(reader)
            if is_silent or not has_ended:
                # The next channel makes a connection of its own, which a proxy may lead to another service process.
                self._channel = None
                _close(channel)

    def close(self) -> None:
        """Close the channel; wait at most END_SECONDS for its calls."""
        if self._channel is not None:
            _close(self._channel).join(END_SECONDS)
            self._channel = None


class _Reader(Generic[Response]):
    """A thread that makes one call and receives its responses."""

    def __init__(self, open_call: Callable[[], StreamCall[Response]]) -> None:
        self._open_call = open_call
        self._call: StreamCall[Response] | None = None
        self._ending = Event()
        # A tuple has a response; None is the end of the stream.
        self._received: queue.Queue[tuple[Response] | Exception | None] = queue.Queue(MAX_AHEAD)
        self._thread = Thread(target=self._read, name="responses", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Return whether the call has not ended."""
        return self._thread.is_alive()

    def responses(self, is_stopped: Callable[[], bool], is_overdue: Callable[[float], bool]) -> Iterator[Response]:
        """Yield the responses; raise the error of the call, or SilentStreamError."""
        begin = monotonic()
        while not is_stopped():
            try:
                received = self._received.get(timeout=TICK_SECONDS)
            except queue.Empty:
                if is_overdue(monotonic() - begin):
                    raise SilentStreamError from None
                continue
            if received is None:
                return
            if isinstance(received, Exception):
                raise received
            yield received[0]
            begin = monotonic()

    def end(self) -> bool:
        """End the call; return whether it ended within END_SECONDS."""
        self._ending.set()
        if self._thread.is_alive():
            # Another thread cancels: the lock of a call that does not end may be taken.
            Thread(target=self._cancel, name="cancel", daemon=True).start()
            self._thread.join(END_SECONDS)
        return not self._thread.is_alive()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _read(self) -> None:
        try:
            self._call = call = self._open_call()
            if self._ending.is_set():
                call.cancel()
            for response in call:
                self._put((response,))
        except Exception as error:  # noqa: BLE001 - the thread of the stream handles it
            self._put(error)
        else:
            self._put(None)

    def _put(self, received: tuple[Response] | Exception | None) -> None:
        while not self._ending.is_set():
            # The queue is full while the thread of the stream handles earlier responses.
            with suppress(queue.Full):
                self._received.put(received, timeout=END_SECONDS)
                return


def _close(channel: grpc.Channel) -> Thread:
    """Close a channel in another thread, because `close` waits for each of its calls."""
    closing = Thread(target=channel.close, name="close", daemon=True)
    closing.start()
    return closing
