"""Measure "X while Y": `python -m benchmarks.isolation [ROW ...]`, eight minutes; the table stands in docs/capacity.md.

Each row measures a caller alone, then beside the work of a stranger, in rounds, and prints the median of the ratios.
`--checkout DIR` measures the services of another checkout, for example of an earlier commit, with the same load.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from benchmarks import growth, strangers
from benchmarks.http2 import LoadGenerator, LoadPlan, Measurement
from benchmarks.purchases import purchase_plan
from benchmarks.report import Comparison, percentile, round_options, table
from benchmarks.scans import scan_plan
from benchmarks.strangers import Access, Done, stranger
from benchmarks.testbed import Testbed, publish, purchase_request, running_testbed, sell, steady_latencies
from benchmarks.uploads import upload
from dev.clients import free_ports
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2, ticket_service_pb2

CALLERS = 64
# No round draws a ticket twice: drawn files are kept.
DRAWING_CALLERS, DRAWN_TICKETS = 8, 1_500
DEVICES, SCANS_A_SECOND = 64, 300.0
LOCKED_DEVICES, LOCKED_SCANS_A_SECOND = 16, 50.0
RECONNECTING_DEVICES = 300
CANCELLATIONS_A_SECOND = 10.0
READS_A_SECOND = 50.0
ATTENDANCE_READERS, INVENTED_CALLS = 64, 1_200
LISTED_TICKETS = 100_000
UPLOADED = 20_000
LARGE_ORDER = 80

WEBHOOK_SECRET = "whsec_YmVuY2htYXJrIG9mIG5vdGlmaWNhdGlvbnM="  # noqa: S105 - only the benchmarks use it

Figures = tuple[float, float]


@dataclass
class IsolationRun:
    """One run of the rows on one testbed."""

    bed: Testbed
    rounds: int
    seconds: float
    # The extra text of the row's name: what the service did for the stranger.
    beside: str = ""

    @cached_property
    def listed(self) -> event_pb2.Event:
        """An event with LISTED_TICKETS tickets and three scans of each."""
        event = publish(self.bed)
        growth.fill(self.bed, [event], LISTED_TICKETS)
        growth.settle(self.bed)
        return event

    def access(self, role: str, subject: str) -> Access:
        """Return the access of a stranger."""
        tickets, scans = ("{}:{}".format(*self.bed.address(prefix)) for prefix in ("TICKETS", "SCANS"))
        return Access(tickets, scans, self.bed.keys.token(role, subject))

    def compare(
        self, measure: Callable[[], float], beside: Callable[[], AbstractContextManager[Done]], work: str
    ) -> Iterator[Figures]:
        """Measure alone and beside a stranger, in turns."""
        counts = list[float]()
        for _ in range(self.rounds):
            alone = measure()
            with beside() as done:
                before = done.value
                together = measure()
                counts.append((done.value - before) / self.seconds)
            yield alone, together
        self.beside = f"{statistics.median(counts):,.0f} {work} a second" if work else ""

    def purchases(self) -> float:
        """Return the purchases of one ticket a second."""
        return LoadGenerator(purchase_plan(self.bed, [publish(self.bed)], CALLERS, self.seconds)).run().rate

    def scans(self) -> LoadPlan:
        """Plan scans at a steady rate at a new event."""
        event = publish(self.bed)
        tickets = sell(self.bed, event, int(SCANS_A_SECOND * self.seconds) + 4 * DEVICES)
        return replace(scan_plan(self.bed, event, tickets, DEVICES, self.seconds), rate=SCANS_A_SECOND)

    def scan_latency(self) -> float:
        """Return the p99 of scans in milliseconds."""
        return p99(LoadGenerator(self.scans()).run())

    def cancellation_latency(self) -> float:
        """Return the p50 of CancelTicket in milliseconds; print how many cancellations stayed PENDING."""
        tickets = iter(sell(self.bed, publish(self.bed), int(CANCELLATIONS_A_SECOND * self.seconds)))
        shop = self.bed.client("service", "shop")
        pending = 0

        def cancel() -> None:
            nonlocal pending
            request = ticket_service_pb2.CancelTicketRequest(ticket_id=next(tickets).ticket_id)
            cancelled = shop.ask(shop.tickets.CancelTicket, request).cancellation
            pending += cancelled.status == ticket_pb2.CANCELLATION_STATUS_PENDING

        latency = 1000 * statistics.median(steady_latencies(cancel, self.seconds, CANCELLATIONS_A_SECOND))
        if pending:
            print(f"{pending} cancellations were answered PENDING", flush=True)
        return latency

    def read_latency(self) -> float:
        """Return the p50 of GetEvent in milliseconds."""
        shop, event = self.bed.client("service", "shop"), publish(self.bed)
        request = event_service_pb2.GetEventRequest(event_id=event.event_id)
        latencies = steady_latencies(lambda: shop.ask(shop.events.GetEvent, request), self.seconds, READS_A_SECOND)
        return 1000 * statistics.median(latencies)

    def drawing(self) -> Iterator[Figures]:
        """Measure purchases while pages of many tickets are drawn."""
        drawn = [ticket.ticket_id for ticket in sell(self.bed, publish(self.bed), DRAWN_TICKETS)]
        work = partial(stranger, strangers.draw_pages, self.access("service", "shop"), drawn, DRAWING_CALLERS)
        return self.compare(self.purchases, work, "pages")

    def mailing(self) -> Iterator[Figures]:
        """Measure purchases while a relay mails the tickets of all sales."""
        return self.compare(self.purchases, self.running_relay, "mails")

    def posting(self) -> Iterator[Figures]:
        """Measure purchases while a relay posts the notifications of all sales."""
        return self.compare(self.purchases, self.posted_sales, "posts")

    def locking(self) -> Iterator[Figures]:
        """Measure scans while the row of another event is locked and its gates scan."""
        event = publish(self.bed)
        tickets = sell(self.bed, event, int(LOCKED_SCANS_A_SECOND) + 4 * LOCKED_DEVICES)
        plan = replace(scan_plan(self.bed, event, tickets, LOCKED_DEVICES, 1), rate=LOCKED_SCANS_A_SECOND, warm_up=0)
        url = self.bed.database_url("scans")
        return self.compare(self.scan_latency, partial(stranger, strangers.lock_event, url, event.event_id, plan), "")

    def reconnecting(self) -> Iterator[Figures]:
        """Measure scans while all devices of a venue connect again."""
        event = publish(self.bed)
        plan = scan_plan(self.bed, event, sell(self.bed, event, 1), RECONNECTING_DEVICES, 1)
        return self.compare(self.scan_latency, partial(stranger, strangers.reconnect, plan), "streams opened")

    def uploading(self) -> Iterator[Figures]:
        """Measure scans while a device uploads its offline scans."""
        rates = list[float]()
        for _ in range(self.rounds):
            alone = self.scan_latency()
            event, live = publish(self.bed), self.scans()
            # The live scans last longer than the upload.
            result = upload(self.bed, event, sell(self.bed, event, UPLOADED), live)
            rates.append(result.scans_a_second)
            yield alone, p99(result.live)
        self.beside = f"{statistics.median(rates):,.0f} uploaded a second"

    def attendance(self) -> Iterator[Figures]:
        """Measure cancellations while the attendance of a large event is read by many callers at once."""
        access, event = self.access("scanner", "door"), self.listed.event_id
        work = partial(stranger, strangers.read_attendance, access, event, ATTENDANCE_READERS)
        return self.compare(self.cancellation_latency, work, "reads")

    def inventing(self) -> Iterator[Figures]:
        """Measure cancellations under calls with invented device tokens."""
        access, event = self.access("scanner", "door"), publish(self.bed).event_id
        work = partial(stranger, strangers.invent_tokens, access, event, INVENTED_CALLS)
        return self.compare(self.cancellation_latency, work, "calls")

    def listing(self) -> Iterator[Figures]:
        """Measure purchases while a caller reads a long list."""
        work = partial(stranger, strangers.page_tickets, self.access("service", "shop"), self.listed.event_id)
        return self.compare(self.purchases, work, "pages")

    def large_orders(self) -> Iterator[Figures]:
        """Measure GetEvent while two large orders are mailed."""
        return self.compare(self.read_latency, self.mailed_orders, "mails")

    @contextmanager
    def running_relay(self) -> Iterator[Done]:
        """Run a server that accepts mails, and a relay: in its own process, or in the service with TICKETS_RELAY."""
        port = free_ports(1)[0]
        settings = {"TICKETS_SMTP_URL": f"smtp://127.0.0.1:{port}", "TICKETS_MAIL_FROM": "tickets@example.com"}
        with stranger(strangers.accept_mails, port) as mails, self._relay(settings):
            yield mails

    @contextmanager
    def posted_sales(self) -> Iterator[Done]:
        """Run a webhook that accepts posts, and a relay."""
        port = free_ports(1)[0]
        settings = {"TICKETS_WEBHOOK_URL": f"http://127.0.0.1:{port}/", "TICKETS_WEBHOOK_SECRET": WEBHOOK_SECRET}
        with stranger(strangers.accept_posts, port) as posts, self._relay(settings):
            yield posts

    @contextmanager
    def _relay(self, settings: Mapping[str, str]) -> Iterator[None]:
        with ExitStack() as stack:
            if self.bed.variables["TICKETS_RELAY"] == "off":
                stack.enter_context(self.bed.relay(**settings))
            else:
                self._restart(settings)
                stack.callback(self._restart, {})
            yield

    @contextmanager
    def mailed_orders(self) -> Iterator[Done]:
        """Run a relay that has just begun to mail two large orders."""
        with self.running_relay() as mails:
            shop, event = self.bed.client("service", "shop"), publish(self.bed)
            for _ in range(2):
                shop.ask(shop.purchases.PurchaseTickets, purchase_request(event, LARGE_ORDER))
            yield mails

    def _restart(self, settings: Mapping[str, str]) -> None:
        self.bed.stop("ticket_service")
        self.bed.start("ticket_service", self.bed.address("TICKETS")[1], **settings)


# The name of each row, its measurement, and the bound of its ratio.
ROWS: Mapping[str, tuple[str, Callable[[IsolationRun], Iterator[Figures]], str]] = {
    "drawing": ("purchases while 8 callers draw pages", IsolationRun.drawing, "at least 0.8"),
    "mailing": ("purchases while all sales are mailed", IsolationRun.mailing, "at least 0.8"),
    "posting": ("purchases while all sales are posted to a webhook", IsolationRun.posting, "at least 0.8"),
    "locking": ("p99 of scans while another event is locked, ms", IsolationRun.locking, "at most 2"),
    "reconnecting": ("p99 of scans while 300 devices connect within 2 s, ms", IsolationRun.reconnecting, "at most 2"),
    "uploading": ("p99 of scans while 20,000 are uploaded, ms", IsolationRun.uploading, "at most 3"),
    "attendance": ("p50 of CancelTicket, 64 attendance readers, ms", IsolationRun.attendance, "at most 3"),
    "inventing": ("p50 of CancelTicket under invented tokens, ms", IsolationRun.inventing, "at most 3"),
    "listing": ("purchases while 100,000 tickets are listed", IsolationRun.listing, "at least 0.8"),
    "large-orders": ("p50 of GetEvent while two orders of 80 are mailed, ms", IsolationRun.large_orders, "at most 2"),
}


def p99(measured: Measurement) -> float:
    """Return the p99 of a measurement in milliseconds."""
    return 1000 * percentile(measured.latencies, 99)


def compare_rows(run: IsolationRun, names: Sequence[str]) -> Iterator[Comparison]:
    """Yield the comparison of each row."""
    for name in names or ROWS:
        text, measure, bound = ROWS[name]
        figures = list(measure(run))
        alone, together = ([pair[n] for pair in figures] for n in (0, 1))
        work, run.beside = run.beside, ""
        yield Comparison(f"{text} ({work})" if work else text, together, alone, "alone", bound)


def main() -> int:
    """Measure the rows named on the command line, or all of them, and print a table."""
    options = round_options("benchmarks.isolation", __doc__, rounds=3, seconds=5)
    options.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    options.add_argument("--checkout", type=Path, help="the folder of another checkout, whose services are measured")
    options.add_argument("--relay", default="off", help="TICKETS_RELAY of the ticket service (default: %(default)s)")
    given = options.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        options.error(f"there is no row {', '.join(sorted(unknown))}")
    settings = {"TICKETS_RELAY": given.relay, "TICKETS_MAX_PER_PURCHASE": str(LARGE_ORDER)}
    with running_testbed(given.checkout and given.checkout.resolve(), **settings) as bed:
        run = IsolationRun(bed, given.rounds, given.seconds)
        rows = list[Comparison]()
        for row in compare_rows(run, given.rows):
            rows.append(row)
            print(f"{row.name}: {row.ratio:.2f}", flush=True)
        print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
