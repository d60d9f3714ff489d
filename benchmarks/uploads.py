"""Offline scans uploaded on one stream, and what they do to the answer times of the gates that scan meanwhile."""

import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context

from benchmarks.http2 import Generator, Measured, Plan
from benchmarks.stand import Stand
from dev.demo import at
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

SCANS_IN_AN_UPLOAD = 500


@dataclass(frozen=True, slots=True)
class Uploads:
    """What came of a device's uploads, and of the live scans beside them."""

    scans_a_second: float
    live: Measured


def upload(its: Stand, event: event_pb2.Event, tickets: Sequence[ticket_pb2.Ticket], live: Plan) -> Uploads:
    """Upload one offline scan of each of `tickets` while `live` is carried out."""
    now = datetime.now(UTC)
    decision = scan_service_pb2.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=at(now))
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
    with apart() as generators:
        beside = generators.submit(carried_out, live)
        spent = _upload(its, event, messages)
        return Uploads(len(scans) / spent, beside.result())


def apart() -> ProcessPoolExecutor:
    """Make a process that is ready to measure: beside the uploads' own client its answers would wait for that one's lock."""
    generators = ProcessPoolExecutor(1, get_context("spawn"))
    generators.submit(int).result()
    return generators


def carried_out(plan: Plan) -> Measured:
    """Carry out a plan."""
    return Generator(plan).run()


def _upload(its: Stand, event: event_pb2.Event, messages: Iterator[scan_service_pb2.StreamScansRequest]) -> float:
    requests: queue.SimpleQueue[scan_service_pb2.StreamScansRequest | None] = queue.SimpleQueue()
    answers = its.caller("scanner", "uploader").stream(iter(requests.get, None))
    gate = scan_pb2.Gate(event_id=event.event_id, location="South 1")
    requests.put(scan_service_pb2.StreamScansRequest(open=gate))
    ahead = next(answers).opened.max_outstanding_uploads // SCANS_IN_AN_UPLOAD
    begin = time.perf_counter()
    for _ in range(ahead):
        requests.put(next(messages, None))
    for answer in answers:
        if answer.uploaded.rejected or not answer.uploaded.results:
            raise ValueError(f"an upload was not taken: {answer}")
        requests.put(next(messages, None))
    return time.perf_counter() - begin
