"""Purchases of one free ticket each, as unary calls."""

import itertools
from collections.abc import Sequence

from benchmarks.http2 import Plan
from benchmarks.stand import Stand, purchase_request
from ticketing.tickets.v1 import event_pb2

PATH = "/ticketing.tickets.v1.PurchaseService/PurchaseTickets"
# More than any machine here sells in a second.
MAX_PER_SECOND = 6_000


def purchase_plan(its: Stand, events: Sequence[event_pb2.Event], callers: int, seconds: float) -> Plan:
    """Buy from each of `events` in turn."""
    count = int(MAX_PER_SECOND * seconds)
    messages = [
        purchase_request(event).SerializeToString() for event in itertools.islice(itertools.cycle(events), count)
    ]
    return Plan(
        addresses=[its.address("TICKETS")],
        path=PATH,
        metadata=its.metadata("service", "shop"),
        connections=callers,
        first=None,
        messages=messages,
        warm_up=2 * callers,
        seconds=seconds,
    )
