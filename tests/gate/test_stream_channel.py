"""A stream that the service leaves silent is given up, whatever becomes of its call."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.environment.waiting import eventually
from tests.gate.venue import Handheld
from ticketing.gate import stream_channel
from ticketing.gate.stream_channel import TOO_MANY_LEFT, SilentStreamError, StreamChannel

NewHandheld = Callable[..., Handheld]


class StuckCall:
    """A call of gRPC that sends its responses and never ends, not even if it is cancelled."""

    def __init__(self, *responses: str, cancel_returns: bool = True) -> None:
        self._responses = responses
        self._cancel_returns = cancel_returns
        self.released = threading.Event()

    def __iter__(self) -> Iterator[str]:
        yield from self._responses
        self.released.wait()

    def cancel(self) -> None:
        if not self._cancel_returns:
            self.released.wait()


class Channels:
    """The channels that a thread of the device opens; none of them is used."""

    def __init__(self) -> None:
        self.opened = 0

    def __call__(self) -> grpc.Channel:
        self.opened += 1
        return grpc.insecure_channel("127.0.0.1:1")


@pytest.fixture(autouse=True)
def short_end(monkeypatch) -> None:
    monkeypatch.setattr(stream_channel, "END_SECONDS", 0.05)


@pytest.fixture(params=[True, False], ids=["cancelled", "cancel hangs"])
def stuck(request) -> Iterator[StuckCall]:
    call = StuckCall("first", cancel_returns=request.param)
    yield call
    call.released.set()


def read(channel: StreamChannel, open_call, is_stopped=lambda: False, max_silence: float = 0.05) -> list[str]:
    received: list[str] = []
    with channel.responses(open_call, is_stopped, lambda seconds: seconds > max_silence) as responses:
        received.extend(responses)
    return received


def test_call_that_does_not_end_is_left_behind_with_its_channel(stuck):
    channels = Channels()
    channel = StreamChannel(channels)
    with pytest.raises(SilentStreamError):
        read(channel, lambda _: stuck)
    assert read(channel, lambda _: iter(["second"])) == ["second"]
    assert read(channel, lambda _: iter(["third"])) == ["third"]
    assert channels.opened == 2
    channel.close()


def test_call_that_never_begins_is_left_behind():
    channels, released = Channels(), threading.Event()
    channel = StreamChannel(channels)
    with pytest.raises(SilentStreamError):
        read(channel, lambda _: iter([str(released.wait())]))
    assert read(channel, lambda _: iter(["second"])) == ["second"]
    released.set()


def test_end_of_the_program_waits_for_no_call(stuck):
    channel, stopped = StreamChannel(Channels()), threading.Event()
    received: list[str] = []

    def follow() -> None:
        with channel.responses(lambda _: stuck, stopped.is_set, lambda _: False) as responses:
            received.extend(responses)

    thread = threading.Thread(target=follow)
    thread.start()
    stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    channel.close()


def test_number_of_calls_left_behind_is_bounded(stuck, monkeypatch):
    monkeypatch.setattr(stream_channel, "MAX_LEFT_BEHIND", 2)
    channel = StreamChannel(Channels())
    for _ in range(2):
        with pytest.raises(SilentStreamError):
            read(channel, lambda _: stuck)
    with pytest.raises(RuntimeError, match=TOO_MANY_LEFT):
        read(channel, lambda _: stuck)
    stuck.released.set()
    eventually(lambda: not any(thread.name == "responses" for thread in threading.enumerate()))
    assert read(channel, lambda _: iter(["next"])) == ["next"]


def test_slow_handling_of_a_response_is_no_silence():
    channel, handled = StreamChannel(Channels()), threading.Event()
    # More responses than the stream receives ahead.
    call = StuckCall(*map(str, range(9)))
    call.released.set()
    with channel.responses(lambda _: call, lambda: False, lambda seconds: seconds > 5) as responses:
        received = [next(responses)]
        handled.wait(0.2)
        received.extend(responses)
    assert received == list(map(str, range(9)))


def test_replica_goes_on_after_a_stream_that_stops_in_the_middle(handheld, stand_in, monkeypatch):
    monkeypatch.setattr("ticketing.gate.replica.SILENT_SECONDS", 0.1)
    stand_in.page_size, stand_in.silent_after = 3, 3
    tokens = [stand_in.ticket() for _ in range(20)]
    handheld.replica = type(handheld.replica)(handheld.client, stand_in.event_id, handheld.store, handheld.clock)
    handheld.follow()
    eventually(lambda: handheld.store.replica_state(stand_in.event_id).is_complete)
    assert handheld.store.ticket_count(stand_in.event_id) == len(tokens)
    assert len(stand_in.after_cursors) > 3


def test_replica_waits_longer_after_streams_without_any_response(handheld, stand_in, monkeypatch):
    monkeypatch.setattr("ticketing.gate.replica.SILENT_SECONDS", 0.05)
    monkeypatch.setattr("ticketing.gate.replica.MAX_SILENT_SECONDS", 0.1)
    stand_in.silent_after = 0
    stand_in.ticket()
    handheld.replica = type(handheld.replica)(handheld.client, stand_in.event_id, handheld.store, handheld.clock)
    handheld.follow()
    eventually(lambda: len(stand_in.after_cursors) > 3)
    assert handheld.replica._silent_seconds == 0.1  # noqa: SLF001 - the bound of the next silence
    stand_in.silent_after = -1
    eventually(lambda: handheld.store.replica_state(stand_in.event_id).is_complete)


@pytest.fixture
def mute() -> Iterator[str]:
    """Return the address of a machine that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_machine_that_accepts_and_never_answers_counts_as_offline(mute, new_handheld, monkeypatch):
    monkeypatch.setattr("ticketing.gate.connection.OPEN_SECONDS", 0.2)
    handheld = new_handheld(mute, uuid.uuid4()).connect().follow()
    assert handheld.state == "OFFLINE"
    assert handheld.connection.status.problem == "the service does not answer in time"
    handheld.close()
    assert not handheld.connection.thread.is_alive
    assert not handheld.replica.thread.is_alive
