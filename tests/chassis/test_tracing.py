"""Tracing in one process: what turns it on, a collector that is absent or hangs, and the links of batches."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter

from tests.environment import ROOT
from tests.environment.waiting import until
from tests.stand_ins.collector import Collector, running_collector
from ticketing.chassis import tracing
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.settings import Environment, SettingsError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
METADATA = (("traceparent", f"00-{'a' * 32}-{'1' * 16}-01"),)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as running:
        start(running.url, monkeypatch)
        yield running
        tracing.stop()


def start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    tracing.start("toy")


def begin(method: str = "/toy/Ask", *, is_stream: bool = False) -> tracing.CallTrace:
    tracer = tracing.current()
    assert tracer is not None
    return tracer.begin_call(method, METADATA, 0.1, {"role": "user"}, is_stream=is_stream)


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({ENDPOINT: "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_off_unless_an_exporter_is_named(variables: dict[str, str], is_on: bool) -> None:  # noqa: FBT001 - a parameter of the test
    environment = Environment(variables)
    assert tracing.read_tracing(environment) is is_on
    environment.check()


@pytest.mark.parametrize("name", ["OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"])
def test_another_exporter_or_protocol_is_refused_by_name(name: str) -> None:
    environment = Environment({name: "grpc"})
    tracing.read_tracing(environment)
    with pytest.raises(SettingsError, match=f"{name} is 'grpc'"):
        environment.check()


def test_without_tracing_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, scan_service.command_line, ticket_service.command_line\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"pip install 'ticketing-server\[tracing\]'"):
        tracing.start("toy")


async def test_a_batch_is_linked_with_all_its_requests(collector: Collector) -> None:
    begun, may_process = asyncio.Event(), asyncio.Event()

    async def process(requests: Sequence[int]) -> list[int | Failure]:
        begun.set()
        await may_process.wait()
        with tracing.statement("SELECT $1"):
            return [overloaded("tests") if request == 2 else request for request in requests]

    batcher = Batcher("numbers", process, max_batch=8, max_waiting=8, describe=lambda n: {"number": str(n)})

    async def ask(number: int) -> None:
        call = begin()
        try:
            await batcher.submit(number)
        except Failure as failure:
            call.end("RESOURCE_EXHAUSTED", failure.reason)
        else:
            call.end("OK", "")

    async with asyncio.TaskGroup() as group:
        group.create_task(ask(0))
        await begun.wait()
        for number in (1, 2):
            group.create_task(ask(number))
        await until(lambda: len(batcher._waiting), 2)  # noqa: SLF001 - both wait for the second batch
        may_process.set()
    await until(lambda: len(collector.spans), 10)
    requests = {span.attributes["number"]: span for span in collector.spans if span.name == "numbers"}
    batches = {span.attributes["batch.size"]: span for span in collector.spans if span.name == "batch of numbers"}
    assert batches[1].parent_id == requests["0"].span_id
    assert batches[2].parent_id == requests["1"].span_id
    assert batches[2].links == {requests["2"].span_id}
    assert requests["2"].links == {batches[2].span_id}
    assert requests["2"].attributes["error.type"] == "OVERLOADED"
    assert [requests[n].is_failed for n in "012"] == [False, False, True]
    statements = [span for span in collector.spans if span.name == "SQL"]
    assert {span.parent_id for span in statements} == {batch.span_id for batch in batches.values()}


@pytest.mark.parametrize("answers", [False, True], ids=["absent", "hanging"])
async def test_a_dead_collector_delays_neither_calls_nor_the_stop(
    answers: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
    exporters = list[trace_exporter.OTLPSpanExporter]()

    class KeptExporter(trace_exporter.OTLPSpanExporter):
        def __init__(self) -> None:
            super().__init__()
            exporters.append(self)

    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", KeptExporter)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers:
            # Connections are accepted by the kernel, and no answer follows.
            listener.listen()
        start(f"http://127.0.0.1:{listener.getsockname()[1]}", monkeypatch)
        # Far more than the queue holds; a call that waited for the collector would never return.
        for _ in range(500):
            begin().end("OK", "")
        stopping = threading.Thread(target=tracing.stop)
        stopping.start()
        await asyncio.to_thread(stopping.join, 20)
        assert not stopping.is_alive()
    # The thread that still exports takes random numbers for its retries, which fails the hypothesis of a later test.
    [exporter] = exporters
    exporter.shutdown()
    for thread in threading.enumerate():
        if thread.name == tracing.STOPPING:
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive()


async def test_a_stream_is_no_parent_of_its_messages(collector: Collector) -> None:
    stream = begin(is_stream=True)
    tracer = tracing.current()
    assert tracer is not None
    tracer.start_request("message", {}).end()
    stream.end("OK", "")
    await until(lambda: len(collector.spans), 2)
    by_name = {span.name: span for span in collector.spans}
    assert by_name["message"].links == {by_name["toy/Ask"].span_id}
    assert by_name["message"].parent_id == ""
    assert by_name["toy/Ask"].trace_id == "a" * 32


def test_an_exception_is_recorded_without_its_text(collector: Collector) -> None:
    call = begin()
    with pytest.raises(ValueError, match="vera"), tracing.span("step"):
        raise ValueError("vera@example.com")
    call.end("INTERNAL", "")
    tracing.stop()
    assert {span.attributes.get("error.type") for span in collector.spans} == {"ValueError", "INTERNAL"}
    assert not any(b"vera" in body for body in collector.bodies)
