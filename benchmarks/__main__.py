"""Measure throughput and latency and write benchmarks/results.md: `python -m benchmarks`, 5 to 10 minutes.

Every comparison runs in rounds. The services and the baseline take turns, so that both meet the same state of the machine.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import clients, feed, growth
from benchmarks.curves import CurvePoint, plot
from benchmarks.database import CLIENTS, sales_a_second
from benchmarks.http2 import LoadGenerator, LoadPlan, Measurement
from benchmarks.purchases import purchase_plan
from benchmarks.report import Comparison, percentile, round_options, table
from benchmarks.scans import check_admitted, scan_plan
from benchmarks.testbed import Testbed, publish, purchase_request, running_testbed, sell
from benchmarks.uploads import generator_process, run_plan, upload
from ticketing.chassis.grpc_variables import VARIABLES
from ticketing.tickets.v1 import event_pb2, ticket_pb2

HERE = Path(__file__).parent
# No measured machine admits more scans in a second; a round leaves the other tickets unscanned.
MAX_SCANS_PER_SECOND = 8_000
CALLERS = 64
HOT_EVENTS = 100
ECHO, TUNED_ECHO = "echo", "echo with our poller"
CURVE = (1, 4, 16, 64, 200)
FEED_TICKETS = 100_000
LIVE_SCANS_A_SECOND = 50
UPLOADED = 20_000


@dataclass
class BenchmarkRun:
    """One run of all comparisons."""

    testbed: Testbed
    # gRPC as it is installed, and with the variables of the services.
    echo: tuple[str, int]
    tuned_echo: tuple[str, int]
    rounds: int
    seconds: float

    def tickets(self, count: int) -> tuple[event_pb2.Event, Sequence[ticket_pb2.Ticket]]:
        """Publish a new event and sell `count` tickets of it."""
        event = publish(self.testbed)
        return event, sell(self.testbed, event, count)

    def scans(self, devices: int, seconds: float) -> LoadPlan:
        """Plan scans of new tickets."""
        event, tickets = self.tickets(int(MAX_SCANS_PER_SECOND * seconds))
        return scan_plan(self.testbed, event, tickets, devices, seconds)

    def echo_plan(self, plan: LoadPlan, *, tuned: bool = False) -> LoadPlan:
        """Plan the same load for an echo; it is faster, so the plan repeats the messages six times."""
        return replace(plan, addresses=[self.tuned_echo if tuned else self.echo], messages=[*plan.messages] * 6)

    def compare_scans(
        self, devices: int, target: str, run: Callable[[LoadPlan], Measurement], name: str
    ) -> Sequence[Comparison]:
        """Compare the scan rate of the services with the message rates of the echoes."""
        ours, baseline, tuned = list[float](), list[float](), list[float]()
        for _ in range(self.rounds):
            plan = self.scans(devices, self.seconds)
            measured = run(plan)
            check_admitted(measured)
            ours.append(measured.rate)
            baseline.append(run(self.echo_plan(plan)).rate)
            tuned.append(run(self.echo_plan(plan, tuned=True)).rate)
        title = f"scans, {devices} devices, {name}"
        return Comparison(title, ours, baseline, ECHO, target), Comparison(title, ours, tuned, TUNED_ECHO, "")

    def compare_latency(self, devices: int, rate: float) -> Comparison:
        """Compare the p99 latencies at a fixed rate."""
        ours, baseline = list[float](), list[float]()
        for _ in range(self.rounds):
            plan = replace(self.scans(devices, self.seconds), rate=rate)
            ours.append(1000 * percentile(LoadGenerator(plan).run().latencies, 99))
            baseline.append(1000 * percentile(LoadGenerator(self.echo_plan(plan)).run().latencies, 99))
        name = f"scans, {devices} devices, p99 in ms at {rate:,.0f} a second"
        return Comparison(name, ours, baseline, ECHO, "at most 5")

    def compare_purchases(self) -> Iterator[Comparison]:
        """Compare the purchase rates of one event and of many, and of PostgreSQL alone."""
        hot, many, baseline, tuned, database = (list[float]() for _ in range(5))
        event, events = publish(self.testbed), [publish(self.testbed) for _ in range(HOT_EVENTS)]
        for _ in range(self.rounds):
            plan = purchase_plan(self.testbed, [event], CALLERS, self.seconds)
            hot.append(LoadGenerator(plan).run().rate)
            baseline.append(LoadGenerator(self.echo_plan(plan)).run().rate)
            tuned.append(LoadGenerator(self.echo_plan(plan, tuned=True)).run().rate)
            database.append(sales_a_second(self.testbed, event.event_id, self.seconds))
            many.append(LoadGenerator(purchase_plan(self.testbed, events, CALLERS, self.seconds)).run().rate)
        name = f"purchases, hot event, {CALLERS} callers"
        yield Comparison(name, hot, database, f"pgbench, {CLIENTS} clients", "at least 1.6")
        yield Comparison(name, hot, baseline, ECHO, "at least 0.36, aim 0.42")
        yield Comparison(name, hot, tuned, TUNED_ECHO, "")
        yield Comparison(f"purchases, {HOT_EVENTS} events", many, hot, "hot event", "at least 1")

    def compare_uploads(self) -> Iterator[Comparison]:
        """Measure the upload rate, and compare the p99 of live scans with and without an upload."""
        idle, during_upload, rates = list[float](), list[float](), list[float]()
        for _ in range(self.rounds):
            event, tickets = self.tickets(UPLOADED + 2 * int(LIVE_SCANS_A_SECOND * self.seconds) + 100)
            uploaded, others = tickets[:UPLOADED], tickets[UPLOADED:]
            half = len(others) // 2
            alone, live = (
                replace(scan_plan(self.testbed, event, part, 20, self.seconds), rate=float(LIVE_SCANS_A_SECOND))
                for part in (others[:half], others[half:])
            )
            with generator_process() as generators:
                idle.append(1000 * percentile(generators.submit(run_plan, alone).result().latencies, 99))
            result = upload(self.testbed, event, uploaded, live)
            rates.append(result.scans_a_second)
            during_upload.append(1000 * percentile(result.live.latencies, 99))
        target = [4_000.0] * len(rates)
        yield Comparison("uploaded offline scans, one stream", rates, target, "target", "at least 1")
        yield Comparison("p99 of live scans during uploads, ms", during_upload, idle, "without uploads", "at most 3")

    def rates(self) -> tuple[float, float]:
        """Measure scans and purchases a second."""
        scans = LoadGenerator(self.scans(200, self.seconds)).run().rate
        plan = purchase_plan(self.testbed, [publish(self.testbed)], CALLERS, self.seconds)
        return scans, LoadGenerator(plan).run().rate

    def curve(self, run: Callable[[LoadPlan], LoadPlan]) -> Iterator[CurvePoint]:
        """Measure the rate and the latencies for each number of devices in CURVE."""
        for devices in CURVE:
            measured = LoadGenerator(run(self.scans(devices, self.seconds))).run()
            p50, p99 = (percentile(measured.latencies, percent) for percent in (50, 99))
            yield CurvePoint(devices, measured.rate, p50, p99)


def measure(bench: BenchmarkRun) -> Iterator[Comparison]:
    """Run every comparison, in the order of the table."""
    yield from (many := bench.compare_scans(200, "at least 0.33, aim 0.45", run_plan, "raw generator"))
    yield from (few := bench.compare_scans(16, "at least 0.25, aim 0.3", run_plan, "raw generator"))
    yield from bench.compare_scans(200, "at least 0.5", clients.run, "grpc.aio clients")
    yield from bench.compare_scans(16, "at least 0.35", clients.run, "grpc.aio clients")
    yield bench.compare_latency(200, statistics.median(many[0].ours) / 2)
    yield bench.compare_latency(16, statistics.median(few[0].ours) / 2)
    yield from bench.compare_purchases()
    yield from bench.compare_uploads()


def compare_growth(bench: BenchmarkRun) -> Iterator[Comparison]:
    """Compare the rates on full databases with the rates on nearly empty ones, in turns."""
    with running_testbed() as empty, running_testbed() as full:
        growth.fill(full, [publish(full) for _ in range(HOT_EVENTS)])
        measured = list[tuple[float, ...]]()
        for testbed in (full, empty):
            growth.settle(testbed)
        for _ in range(bench.rounds):
            measured.append((*replace(bench, testbed=full).rates(), *replace(bench, testbed=empty).rates()))
    scans, purchases, scans_before, purchases_before = zip(*measured, strict=True)
    stored = f"{growth.TICKETS:,} tickets and {growth.SCANS:,} scans stored"
    target = "nearly empty", "at least 0.95"
    yield Comparison(f"scans, 200 devices, {stored}", scans, scans_before, *target)
    yield Comparison(f"purchases, hot event, {stored}", purchases, purchases_before, *target)


def feed_lines(testbed: Testbed) -> Iterator[str]:
    """Measure the delay between a sale and its row in the scan database."""
    testbed.query("scans", feed.CLOCK)
    for count in (1, HOT_EVENTS):
        on_sale = [publish(testbed) for _ in range(count)]
        LoadGenerator(purchase_plan(testbed, on_sale, CALLERS, 5)).run()
        lags = feed.lags(testbed, [event.event_id for event in on_sale])
        p50, p99 = _ms(lags, 50), _ms(lags, 99)
        yield f"- lag of {len(lags):,} sales under full load, {count} on sale: p50 {p50}, p99 {p99} ms (target: 200)"


def replication_line(rounds: int) -> str:
    """Measure how long a new scan service takes to replicate all tickets."""
    with running_testbed() as testbed:
        event = publish(testbed)
        sell(testbed, event, FEED_TICKETS)
        seconds = [feed.replication_seconds(testbed, event.event_id, FEED_TICKETS) for _ in range(rounds)]
    return (
        f"- {FEED_TICKETS:,} tickets replicated anew in {statistics.median(seconds):.1f} s"
        f" ({min(seconds):.1f}-{max(seconds):.1f}; target: 4)"
    )


def import_line(rounds: int) -> str:
    """Measure the import time of the services without the start of Python itself."""
    durations: dict[str, list[float]] = {"ticket_service": [], "scan_service": []}
    for _ in range(rounds):
        start = _run_seconds("")
        for service, seconds in durations.items():
            seconds.append(_run_seconds(f"import {service}.app, {service}.command_line") - start)
    parts = (
        f"{service} {statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
        for service, seconds in durations.items()
    )
    return f"- imports: {', '.join(parts)} (target: 1)"


def _run_seconds(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def _ms(seconds: Sequence[float], percent: float) -> str:
    return f"{1000 * percentile(seconds, percent):.0f}"


def machine() -> str:
    """Describe the machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf", "psycopg2-binary", "sqlalchemy"))
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True)  # noqa: S607 - found by PATH
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, {versions}."
    )


def main() -> int:
    """Run all measurements and write the results."""
    options = round_options("benchmarks", __doc__)
    options.add_argument("--output", type=Path, default=HERE, help="folder of the results (default: %(default)s)")
    options.add_argument("--growth", action="store_true", help="also measure with millions of stored tickets and scans")
    given = options.parse_args()
    before = [import_line(given.rounds), replication_line(given.rounds)]
    with running_testbed() as testbed:
        event = publish(testbed)
        scan = LoadGenerator(scan_plan(testbed, event, sell(testbed, event, 8), 1, given.seconds)).run()
        shop = testbed.client("service", "shop")
        purchase = shop.ask(shop.purchases.PurchaseTickets, purchase_request(event))
        answers = scan.answers[-1], purchase.SerializeToString()
        echoes = testbed.start_echo(*answers, {}), testbed.start_echo(*answers, VARIABLES)
        bench = BenchmarkRun(testbed, *echoes, given.rounds, given.seconds)
        rows = []
        for row in measure(bench):
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
        curves = {"scan service": list(bench.curve(lambda plan: plan)), "echo": list(bench.curve(bench.echo_plan))}
        lines = [*feed_lines(testbed), *before]
        for row in compare_growth(bench) if given.growth else ():
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
    plot(curves, given.output / "scans.svg")
    how = f"PostgreSQL durable, TLS off, authentication on; medians of {given.rounds} rounds, minimum and maximum in brackets, "
    text = (
        "# Measurement\n",
        f"{machine()} {how}ratios are medians over the rounds.\n",
        table(rows),
        "\n".join(lines) + "\n",
        "![scans a second and answer times against devices](scans.svg)\n",
    )
    (given.output / "results.md").write_text("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
