"""Measure the time and the memory of drawing tickets: `python -m benchmarks.drawings`, a minute.

Each format is measured with a ticket service of its own, at RenderTicket, one call at a time: the first call, which
starts the worker and loads its libraries, and the median of the next ones, each for another ticket. The memory is what
all processes of the service take more than before the first call. `--before` measures another checkout as well; both
take turns.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.testbed import Testbed, publish, purchase_request, running_testbed
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_service_pb2

TICKETS: Final = 20
FORMATS: Final = ("PNG", "SVG", "PDF", "ICS")
NAMES: Final = {
    "Latin": "Spring Concert",
    "Chinese": "东京交响乐团新年音乐会",
    "Arabic and emoji": "مهرجان الموسيقى 🎶",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one format."""

    first_ms: float
    median_ms: float
    memory_mb: float
    size_kb: float


def measure(checkout: Path | None, form: str, name: str) -> Figures:
    """Start a ticket service, draw tickets of an event with this name, and stop it."""
    with running_testbed(checkout, TICKETS_MAX_PER_PURCHASE=str(TICKETS)) as testbed:
        shop = testbed.client("service", "shop")
        request = purchase_request(_renamed(testbed, name), TICKETS)
        tickets = [one.ticket_id for one in shop.ask(shop.purchases.PurchaseTickets, request).purchase.tickets]
        before = _memory(testbed)
        seconds, size = list[float](), 0
        for ticket_id in tickets:
            drawing = ticket_service_pb2.RenderTicketRequest(
                ticket_id=ticket_id, format=ticket_service_pb2.TicketFormat.Value(f"TICKET_FORMAT_{form}")
            )
            began = time.perf_counter()
            size = len(shop.ask(shop.tickets.RenderTicket, drawing).content)
            seconds.append(time.perf_counter() - began)
        return Figures(seconds[0] * 1000, statistics.median(seconds[1:]) * 1000, _memory(testbed) - before, size / 1024)


def _renamed(testbed: Testbed, name: str) -> event_pb2.Event:
    """Publish an event and give it a name."""
    event = publish(testbed)
    organizer = testbed.client("organizer", "alice")
    request = event_service_pb2.UpdateEventRequest(event=event_pb2.Event(event_id=event.event_id, name=name))
    request.update_mask.paths.append("name")
    return organizer.ask(organizer.events.UpdateEvent, request).event


def _memory(testbed: Testbed) -> float:
    """Return the private memory of the ticket service and its workers, in MB."""
    service = psutil.Process(testbed.services["ticket_service"].pid)
    octets: int = sum(process.memory_full_info().uss for process in [service, *service.children(recursive=True)])
    return octets / 1e6


def cells(figures: Sequence[Figures]) -> list[str]:
    """Return the medians over the rounds."""
    return [
        f"{statistics.median(getattr(one, name) for one in figures):,.{digits}f}"
        for name, digits in (("first_ms", 0), ("median_ms", 1), ("memory_mb", 0), ("size_kb", 1))
    ]


def main() -> int:
    """Print a table in Markdown."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.drawings", description=__doc__)
    options.add_argument("--before", type=Path, help="another checkout of this project")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (default: %(default)s)")
    arguments = options.parse_args()
    checkouts = {"this": None} | ({"before": arguments.before.resolve()} if arguments.before else {})
    print(f"load average {os.getloadavg()[0]:.1f}")
    print("| format | name | checkout | first, ms | next, ms | memory, MB | size, KB |\n|---|---|---|---|---|---|---|")
    for form in FORMATS:
        for label, name in NAMES.items() if form == "PDF" else [("Latin", NAMES["Latin"])]:
            found: dict[str, list[Figures]] = {title: [] for title in checkouts}
            for _ in range(arguments.rounds):
                for title, checkout in checkouts.items():
                    found[title].append(measure(checkout, form, name))
            for title, figures in found.items():
                print(f"| {' | '.join([form, label, title, *cells(figures)])} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
