"""A load of scans on streams: single-entry tickets with signed tokens, one unanswered scan per device."""

import random
import uuid
from collections.abc import Sequence

from benchmarks.http2 import LoadPlan, Measurement
from benchmarks.testbed import Testbed
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2

PATH = "/ticketing.scans.v1.ScanService/StreamScans"


def scan_plan(
    testbed: Testbed, event: event_pb2.Event, tickets: Sequence[ticket_pb2.Ticket], devices: int, seconds: float
) -> LoadPlan:
    """Plan one scan of each ticket at the first scan service, in a random order."""
    shuffled = random.Random(len(tickets)).sample(tickets, len(tickets))  # noqa: S311 - no secret
    gate = scan_pb2.Gate(event_id=event.event_id, location="North 3")
    attempts = (scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.token) for ticket in shuffled)
    return LoadPlan(
        addresses=[testbed.address("SCANS")],
        path=PATH,
        metadata=testbed.metadata("scanner", "door"),
        connections=devices,
        first=scan_service_pb2.StreamScansRequest(open=gate).SerializeToString(),
        messages=[scan_service_pb2.StreamScansRequest(scan=attempt).SerializeToString() for attempt in attempts],
        warm_up=min(2 * devices, len(tickets) // 4),
        seconds=seconds,
    )


def check_admitted(measured: Measurement) -> None:
    """Check that every answer was an admission; raise ValueError otherwise."""
    answers = map(scan_service_pb2.StreamScansResponse.FromString, measured.answers)
    if denied := sum(answer.result.verdict != scan_pb2.VERDICT_ADMITTED for answer in answers):
        raise ValueError(f"{denied} of {len(measured.answers)} scans were denied")
