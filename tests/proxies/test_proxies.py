"""The configurations of deploy/proxies, each run in front of two processes of each service."""

import itertools
import os
import queue
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from dev.clients import ApiClient, free_ports
from tests.e2e.service_pair import buy, on_sale
from tests.environment.proxy import Proxy
from tests.environment.refusals import refusal_of
from tests.environment.waiting import eventually
from tests.faults.gates import OWN_END
from tests.proxies.customers import Customers
from tests.proxies.farm import HOSTS, PROXY_HOST, Farm, ProxyPorts
from tests.proxies.programs import Program
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, event_service_pb2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Fewer answers of one kind prove nothing.
MIN_WORK = 10
# `make test` restarts both processes of each service once; PROXY_RESTARTS=all restarts each of the four alone, twice.
RESTARTS: list[tuple[str, ...]] = [("tickets-2", "scans-2")]
if os.environ.get("PROXY_RESTARTS") == "all":
    RESTARTS += [(name,) for name in (*HOSTS, *HOSTS)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Gate:
    """A gate whose stream a test watches; each has a connection of its own, as devices have."""

    def __init__(self, farm: Farm, stack: ExitStack, event_id: str) -> None:
        self._requests: queue.SimpleQueue[pb.StreamScansRequest | None] = queue.SimpleQueue()
        client = farm.client(stack, "scanner", "door", [("grpc.use_local_subchannel_pool", 1)])
        self.answers: Any = client.stream(iter(self._requests.get, None))
        self._requests.put(pb.StreamScansRequest(open=scan_pb2.Gate(event_id=event_id, location="North 3")))
        assert next(self.answers).HasField("opened")

    def scan(self, *codes: str) -> list[scan_pb2.Scan]:
        """Send scans without waiting for verdicts, as a device does; return the scans with their verdicts."""
        for code in codes:
            attempt = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=code)
            self._requests.put(pb.StreamScansRequest(scan=attempt))
        return [next(self.answers).result for _ in codes]

    def close(self) -> None:
        """Close the device's side of the stream."""
        self._requests.put(None)

    def end(self) -> str:
        """Wait for the end of the stream as a device does, which closes its side when it is asked to; return how it ended."""
        kinds = []
        try:
            for message in self.answers:
                kinds.append(str(message.WhichOneof("message")))
                self.close()
        except grpc.RpcError as error:
            details = str(error.details())
            return "still open" if "Locally cancelled" in details else f"{kinds} {details}"
        return " ".join([*kinds, "OK"])


def new_gate(farm: Farm, stack: ExitStack, event_id: str) -> Gate:
    """Open a gate once the scan service has the event."""

    def opened() -> Gate | None:
        with suppress(grpc.RpcError):
            return Gate(farm, stack, event_id)
        return None

    gate = eventually(opened)
    assert gate is not None
    return gate


def test_each_call_is_balanced(proxied: Farm, stack: ExitStack) -> None:
    organizer = proxied.client(stack, "organizer", "alice")
    event = on_sale(organizer)
    names = ("tickets-1", "tickets-2")

    def fewest() -> int:
        """Make twelve calls on one connection; return how many of them reached the process with fewer of them."""
        before = [proxied.calls(name, "GetEvent") for name in names]
        for _ in range(12):
            organizer.ask(organizer.events.GetEvent, event_service_pb2.GetEventRequest(event_id=event.event_id))
        counts = [proxied.calls(name, "GetEvent") - earlier for name, earlier in zip(names, before, strict=True)]
        assert sum(counts) == 12
        return min(counts)

    # A proxy sends no calls to a process for two seconds after it refused one, as on a busy machine.
    eventually(lambda: fewest() >= 3)


def test_a_ticket_is_sold_and_admitted_once(proxied: Farm, stack: ExitStack) -> None:
    event = on_sale(proxied.client(stack, "organizer", "alice"))
    token = buy(proxied.client(stack, "service", "shop"), event).tickets[0].token
    with closing(new_gate(proxied, stack, event.event_id)) as gate:
        assert [bool(gate.scan(token)[0].denial_reason) for _ in range(2)] == [False, True]


def test_a_long_token_and_a_long_error_pass(proxied: Farm, stack: ExitStack) -> None:
    token = proxied.issuer.token("organizer", "alice", groups=["g" * 5_000])
    organizer = proxied.client_at(stack, (proxied.proxy.tickets, proxied.proxy.scans), token)
    tiers = [event_pb2.RefundPolicy.Tier(days_before=-1, percent=-1)] * 20
    event = event_pb2.Event(refund_policy=event_pb2.RefundPolicy(tiers=tiers))
    request = event_service_pb2.CreateEventRequest(request_id="no id", event=event)
    with pytest.raises(grpc.RpcError) as caught:
        organizer.ask(organizer.events.CreateEvent, request)
    refused = refusal_of(cast(grpc.aio.AioRpcError, caught.value))
    assert refused.reason == "INVALID_ARGUMENT"
    assert len(refused.fields) > 40


def test_a_refused_stream_gets_its_reason(proxied: Farm, program: Program, stack: ExitStack) -> None:
    codes = set()
    for _ in range(10):
        with pytest.raises(grpc.RpcError) as caught:
            Gate(proxied, stack, str(uuid.uuid4()))
        codes.add(caught.value.code())
    if program.name == "haproxy" and haproxy_version() < (3, 0):
        # HAProxy drops an answer that is followed by RST_STREAM with NO_ERROR; see docs/proxies.md.
        codes.discard(grpc.StatusCode.CANCELLED)
    assert codes <= {grpc.StatusCode.NOT_FOUND}


def haproxy_version() -> tuple[int, int]:
    asked = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True)  # noqa: S607 - as the proxy itself
    words = asked.stdout.split()
    major, minor = words[2].split(".")[:2]
    return int(major), int(minor)


def test_a_stream_carries_megabytes(proxied: Farm, stack: ExitStack) -> None:
    event = on_sale(proxied.client(stack, "organizer", "alice"))
    with closing(new_gate(proxied, stack, event.event_id)) as gate:
        # 1.4 MB: nginx's default ends a stream after 1 MiB.
        for _ in range(6):
            assert all(scan.scan_id for scan in gate.scan(*["x" * 4_000] * 60))


def test_failed_credentials_count_for_the_caller(proxied: Farm, stack: ExitStack) -> None:
    network = Proxy((PROXY_HOST, proxied.proxy.tickets), source="127.0.3.3")
    stack.callback(network.cut)
    port = int(network.address.rpartition(":")[2])
    # A caller may claim any address; only the one that the proxy saw counts.
    stranger = proxied.client_at(stack, (port, port), "invented")
    request = event_service_pb2.GetEventRequest(event_id=str(uuid.uuid4()))
    for _ in range(4):
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            stranger.events.GetEvent(
                request, metadata=(("authorization", "Bearer invented"), ("x-forwarded-for", "192.0.2.1")), timeout=10
            )
    logs = "".join(process.log() for process in proxied.running.values())
    assert '"address": "127.0.3.3"' in logs
    assert '"address": "192.0.2.1"' not in logs


def restart(farm: Farm, organizers: Iterable[ApiClient], *names: str) -> None:
    """Restart processes at the same time, as an operator does, and wait until every proxy sends them calls again."""
    with ThreadPoolExecutor() as restarts:
        list(restarts.map(farm.restart, names))
    for name, organizer in itertools.product(names, organizers):
        eventually(partial(is_called, farm, organizer, name), seconds=60)


def is_called(farm: Farm, organizer: ApiClient, name: str) -> bool:
    """Make a call of its own method; return whether the process answered it."""
    method = "ListEvents" if name.startswith("tickets") else "ListScans"
    before = farm.calls(name, method)
    with suppress(grpc.RpcError):
        if method == "ListEvents":
            organizer.ask(organizer.events.ListEvents, event_service_pb2.ListEventsRequest())
        else:
            organizer.ask(organizer.scans.ListScans, pb.ListScansRequest(event_id=str(uuid.uuid4())))
    return farm.calls(name, method) > before


@pytest.mark.timeout(900)
def test_a_rolling_restart_loses_no_call(fronts: dict[Program, Farm], stack: ExitStack, tmp_path: Path) -> None:
    """Every process restarts while shops and gates behind every proxy work, which follow the retry advice alone."""
    farm = next(iter(fronts.values()))
    customers = Customers(fronts, tmp_path)
    [event] = customers.world.events
    gates = {
        program.name: [new_gate(front, stack, event.event_id) for _ in range(8)] for program, front in fronts.items()
    }
    organizers = [front.client(stack, "organizer", "olga") for front in fronts.values()]
    threads = stack.enter_context(ThreadPoolExecutor(8 * len(gates)))
    ending = {name: [threads.submit(gate.end) for gate in opened] for name, opened in gates.items()}
    with customers:
        try:
            restart(farm, organizers, "tickets-1", "scans-1")
        finally:
            for gate in itertools.chain.from_iterable(gates.values()):
                # The streams of the other process are still open.
                gate.answers.cancel()
        for names in RESTARTS:
            restart(farm, organizers, *names)
        customers.finish()
        assert eventually(lambda: sorted(customers.violations()), [], seconds=60) == []
        figures = customers.figures()
        print(figures, dict(customers.ends))
        assert min(figures.get(kind, 0) for kind in ("buy", "cancel", "read", "scan")) >= MIN_WORK
        # The service asks to connect again, or to send the scan again after a while. On a busy machine, a gate gives up.
        assert customers.ends["stream: reconnect"]
        assert customers.ends.keys() <= {"stream: reconnect", "stream: rejected", OWN_END}
    ends = {name: {end.result() for end in ended} for name, ended in ending.items()}
    assert ends == {program.name: {"reconnect OK", "still open"} for program in fronts}


def test_idle_streams_end_by_the_stated_time_alone(
    fronts: dict[Program, Farm], stack: ExitStack, tmp_path: Path
) -> None:
    """The shipped time is a day: with two seconds, and all other times as shipped, idle streams end after these."""
    streams: list[tuple[str, Any]] = []
    for program, front in fronts.items():
        farm = front.through(ProxyPorts(*free_ports(2)))
        stack.enter_context(farm.behind(program, tmp_path, {program.idle_time: "2s"}))
        organizer = farm.client(stack, "organizer", "alice")
        event = on_sale(organizer)
        gate = new_gate(farm, stack, event.event_id)
        watch = organizer.scans.WatchAttendance(
            pb.WatchAttendanceRequest(event_id=event.event_id),
            metadata=farm.issuer.metadata("organizer", "alice"),
            timeout=60,
        )
        next(watch)
        streams += [(program.name, gate.answers), (program.name, watch)]
    for name, answers in streams:
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, name


def test_the_plain_text_variant_is_valid(proxied: Farm, program: Program, tmp_path: Path) -> None:
    text = program.plain(proxied.text(program, {}))
    assert "ca.pem" not in text
    file = tmp_path / program.file
    file.write_text(text)
    checked = subprocess.run([*program.command(file), *program.check], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
