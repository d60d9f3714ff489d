"""A load of purchases: unary calls that buy one free ticket each."""

import itertools
from collections.abc import Sequence

from benchmarks.http2 import LoadPlan
from benchmarks.testbed import Testbed, purchase_request
from ticketing.tickets.v1 import event_pb2

PATH = "/ticketing.tickets.v1.PurchaseService/PurchaseTickets"
# No measured machine sells more tickets in a second.
MAX_PER_SECOND = 6_000


def purchase_plan(testbed: Testbed, events: Sequence[event_pb2.Event], callers: int, seconds: float) -> LoadPlan:
    """Plan purchases that go to `events` in turn."""
    count = int(MAX_PER_SECOND * seconds)
    messages = [
        purchase_request(event).SerializeToString() for event in itertools.islice(itertools.cycle(events), count)
    ]
    return LoadPlan(
        addresses=[testbed.address("TICKETS")],
        path=PATH,
        metadata=testbed.metadata("service", "shop"),
        connections=callers,
        first=None,
        messages=messages,
        warm_up=2 * callers,
        seconds=seconds,
    )
