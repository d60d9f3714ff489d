"""Uploads of offline scans on one stream, and the latencies of live scans at the same time."""

import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context

from benchmarks.http2 import LoadGenerator, LoadPlan, Measurement
from benchmarks.testbed import Testbed
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

SCANS_IN_AN_UPLOAD = 500


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The rate of one device's uploads, and the live scans measured at the same time."""

    scans_a_second: float
    live: Measurement


def upload(
    testbed: Testbed, event: event_pb2.Event, tickets: Sequence[ticket_pb2.Ticket], live: LoadPlan
) -> UploadResult:
    """Upload one offline scan per ticket while the plan `live` runs."""
    now = datetime.now(UTC)
    decision = scan_service_pb2.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=timestamp(now))
    scans = [
        scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.token, offline=decision)
        for ticket in tickets
    ]
    messages = iter(
        [
            scan_service_pb2.StreamScansRequest(upload=scan_service_pb2.Upload(scans=scans[n : n + SCANS_IN_AN_UPLOAD]))
            for n in range(0, len(scans), SCANS_IN_AN_UPLOAD)
        ]
    )
    with generator_process() as generators:
        live_result = generators.submit(run_plan, live)
        duration = _upload(testbed, event, messages)
        return UploadResult(len(scans) / duration, live_result.result())


def generator_process() -> ProcessPoolExecutor:
    """Start a process for a load generator: in the process of the upload client it would wait for the GIL."""
    generators = ProcessPoolExecutor(1, get_context("spawn"))
    generators.submit(int).result()
    return generators


def run_plan(plan: LoadPlan) -> Measurement:
    """Run a plan."""
    return LoadGenerator(plan).run()


def _upload(testbed: Testbed, event: event_pb2.Event, messages: Iterator[scan_service_pb2.StreamScansRequest]) -> float:
    requests: queue.SimpleQueue[scan_service_pb2.StreamScansRequest | None] = queue.SimpleQueue()
    answers = testbed.client("scanner", "uploader").stream(iter(requests.get, None))
    gate = scan_pb2.Gate(event_id=event.event_id, location="South 1")
    requests.put(scan_service_pb2.StreamScansRequest(open=gate))
    ahead = next(answers).opened.max_outstanding_uploads // SCANS_IN_AN_UPLOAD
    begin = time.perf_counter()
    for _ in range(ahead):
        requests.put(next(messages, None))
    for answer in answers:
        if answer.uploaded.rejected or not answer.uploaded.results:
            raise ValueError(f"the service rejected an upload: {answer}")
        requests.put(next(messages, None))
    return time.perf_counter() - begin
