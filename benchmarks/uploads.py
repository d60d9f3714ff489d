"""Offline scans uploaded on one stream, and what they do to the answer times of the gates that scan meanwhile."""

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

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
    came: list[Measured] = []
    beside = threading.Thread(target=lambda: came.append(Generator(live).run()))
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
    beside.start()
    spent = _upload(its, event, messages)
    beside.join()
    return Uploads(len(scans) / spent, came[0])


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
