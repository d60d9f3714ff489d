"""Measure what is promised about speed, and write it to benchmarks/results.md: `python -m benchmarks`, 5 to 10 minutes.

Every comparison is made in rounds: ours and the bare thing in turn, so that both meet the same machine.
"""

import argparse
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
from benchmarks.database import CLIENTS, sales_a_second
from benchmarks.http2 import Generator, Measured, Plan
from benchmarks.purchases import purchase_plan
from benchmarks.report import Point, Row, percentile, plot, table
from benchmarks.scans import admitted, scan_plan
from benchmarks.stand import Stand, publish, purchase_request, sell, stand
from benchmarks.uploads import apart, carried_out, upload
from ticketing.tickets.v1 import event_pb2, ticket_pb2

HERE = Path(__file__).parent
# More than any machine here admits in a second: tickets that are not scanned in time are left over.
MAX_SCANS_PER_SECOND = 6_000
CALLERS = 64
HOT_EVENTS = 100
CURVE = (1, 4, 16, 64, 200)
FEED_TICKETS = 100_000
LIVE_SCANS_A_SECOND = 50
UPLOADED = 20_000


@dataclass
class Bench:
    """One run of everything."""

    its: Stand
    echo: tuple[str, int]
    rounds: int
    seconds: float

    def tickets(self, count: int) -> tuple[event_pb2.Event, Sequence[ticket_pb2.Ticket]]:
        """Sell tickets for an event of their own."""
        event = publish(self.its)
        return event, sell(self.its, event, count)

    def scans(self, devices: int, seconds: float) -> Plan:
        """Plan scans of tickets that nobody has shown yet."""
        event, tickets = self.tickets(int(MAX_SCANS_PER_SECOND * seconds))
        return scan_plan(self.its, event, tickets, devices, seconds)

    def bare(self, plan: Plan) -> Plan:
        """Plan the same for the echo; it takes the messages up sooner, so it gets them several times."""
        return replace(plan, addresses=[self.echo], messages=[*plan.messages] * 4)

    def compare_scans(self, devices: int, target: str, run: Callable[[Plan], Measured], name: str) -> Row:
        """Compare the rates of scans."""
        ours, bare = list[float](), list[float]()
        for _ in range(self.rounds):
            plan = self.scans(devices, self.seconds)
            measured = run(plan)
            check(measured)
            ours.append(measured.rate)
            bare.append(run(self.bare(plan)).rate)
        return Row(f"scans, {devices} devices, {name}", ours, bare, "a second", "echo", target)

    def compare_latency(self, devices: int, rate: float) -> Row:
        """Compare p99 at a given rate of both."""
        ours, bare = list[float](), list[float]()
        for _ in range(self.rounds):
            plan = replace(self.scans(devices, self.seconds), rate=rate)
            ours.append(1000 * percentile(Generator(plan).run().latencies, 99))
            bare.append(1000 * percentile(Generator(self.bare(plan)).run().latencies, 99))
        name = f"scans, {devices} devices, p99 in ms at {rate:,.0f} a second"
        return Row(name, ours, bare, "ms", "echo", "at most 8")

    def compare_purchases(self) -> Iterator[Row]:
        """Compare the rates of sales on one event and on many."""
        hot, many, bare, database = list[float](), list[float](), list[float](), list[float]()
        event, events = publish(self.its), [publish(self.its) for _ in range(HOT_EVENTS)]
        for _ in range(self.rounds):
            plan = purchase_plan(self.its, [event], CALLERS, self.seconds)
            hot.append(Generator(plan).run().rate)
            bare.append(Generator(replace(plan, addresses=[self.echo])).run().rate)
            database.append(sales_a_second(self.its, event.event_id, self.seconds))
            many.append(Generator(purchase_plan(self.its, events, CALLERS, self.seconds)).run().rate)
        name = f"purchases, hot event, {CALLERS} callers"
        yield Row(name, hot, database, "a second", f"pgbench, {CLIENTS} clients", "at least 1.6")
        yield Row(name, hot, bare, "a second", "echo", "at least 0.42")
        yield Row(f"purchases, {HOT_EVENTS} events", many, hot, "a second", "hot event", "at least 1")

    def compare_uploads(self) -> Iterator[Row]:
        """Compare live scans' p99 with and without an upload beside them, and count what is uploaded."""
        idle, beside, rates = list[float](), list[float](), list[float]()
        for _ in range(self.rounds):
            event, tickets = self.tickets(UPLOADED + 2 * int(LIVE_SCANS_A_SECOND * self.seconds) + 100)
            uploaded, others = tickets[:UPLOADED], tickets[UPLOADED:]
            half = len(others) // 2
            alone, live = (
                replace(scan_plan(self.its, event, part, 20, self.seconds), rate=float(LIVE_SCANS_A_SECOND))
                for part in (others[:half], others[half:])
            )
            with apart() as generators:
                idle.append(1000 * percentile(generators.submit(carried_out, alone).result().latencies, 99))
            came = upload(self.its, event, uploaded, live)
            rates.append(came.scans_a_second)
            beside.append(1000 * percentile(came.live.latencies, 99))
        wanted = [5_000.0] * len(rates)
        yield Row("uploaded offline scans, one stream", rates, wanted, "a second", "wanted", "at least 1")
        yield Row("live scans' p99 beside them, ms", beside, idle, "ms", "without them", "at most 2")

    def rates(self) -> tuple[Sequence[float], Sequence[float]]:
        """Measure scans and purchases a second."""
        scans, purchases = list[float](), list[float]()
        for _ in range(self.rounds):
            scans.append(Generator(self.scans(200, self.seconds)).run().rate)
            plan = purchase_plan(self.its, [publish(self.its)], CALLERS, self.seconds)
            purchases.append(Generator(plan).run().rate)
        return scans, purchases

    def curve(self, run: Callable[[Plan], Plan]) -> Iterator[Point]:
        """Measure what devices get, from few to many."""
        for devices in CURVE:
            measured = Generator(run(self.scans(devices, self.seconds))).run()
            p50, p99 = (percentile(measured.latencies, percent) for percent in (50, 99))
            yield Point(devices, measured.rate, p50, p99)


def check(measured: Measured) -> None:
    """See that what was counted were admissions."""
    if admitted(measured) != len(measured.answers):
        raise ValueError(f"of {len(measured.answers)} scans only {admitted(measured)} were admitted")


def measure(bench: Bench) -> Iterator[Row]:
    """Make every comparison, in the order of the table."""
    raw: Callable[[Plan], Measured] = lambda plan: Generator(plan).run()  # noqa: E731 - as short as its use
    many = bench.compare_scans(200, "at least 0.32, aim 0.45", raw, "raw generator")
    yield many
    few = bench.compare_scans(16, "at least 0.18, aim 0.27", raw, "raw generator")
    yield few
    yield bench.compare_scans(200, "at least 0.5", clients.run, "grpc.aio clients")
    yield bench.compare_scans(16, "at least 0.35", clients.run, "grpc.aio clients")
    yield bench.compare_latency(200, statistics.median(many.ours) / 2)
    yield bench.compare_latency(16, statistics.median(few.ours) / 2)
    yield from bench.compare_purchases()
    yield from bench.compare_uploads()


def compare_growth(bench: Bench) -> Iterator[Row]:
    """Compare what the services carry with much stored already with what they carried before."""
    growth.settle(bench.its)
    small = bench.rates()
    growth.fill(bench.its, [publish(bench.its) for _ in range(HOT_EVENTS)])
    growth.settle(bench.its)
    for name, before, after in zip(("scans, 200 devices", "purchases, hot event"), small, bench.rates(), strict=True):
        stored = f"{growth.TICKETS:,} tickets and {growth.SCANS:,} scans stored"
        yield Row(f"{name}, {stored}", after, before, "a second", "nearly empty", "at least 0.9")


def feed_lines(its: Stand) -> Iterator[str]:
    """Measure how late a sale reaches the scan service."""
    its.query("scans", feed.CLOCK)
    for count in (1, HOT_EVENTS):
        on_sale = [publish(its) for _ in range(count)]
        Generator(purchase_plan(its, on_sale, CALLERS, 5)).run()
        lags = feed.lags(its, [event.event_id for event in on_sale])
        p50, p99 = _ms(lags, 50), _ms(lags, 99)
        yield f"- lag of {len(lags):,} sales under full load, {count} on sale: p50 {p50}, p99 {p99} ms (target: 250)"


def copy_line(rounds: int) -> str:
    """Measure how soon a new scan service has every ticket there is."""
    with stand() as its:
        event = publish(its)
        sell(its, event, FEED_TICKETS)
        seconds = [feed.copy_seconds(its, event.event_id, FEED_TICKETS) for _ in range(rounds)]
    return (
        f"- {FEED_TICKETS:,} tickets copied anew in {statistics.median(seconds):.1f} s"
        f" ({min(seconds):.1f}-{max(seconds):.1f}; target: 5)"
    )


def import_line(rounds: int) -> str:
    """Measure how long the services take to import, beyond what Python itself takes to start."""
    taken: dict[str, list[float]] = {"ticket_service": [], "scan_service": []}
    for _ in range(rounds):
        start = _run_seconds("")
        for service, seconds in taken.items():
            seconds.append(_run_seconds(f"import {service}.app, {service}.__main__") - start)
    told = (
        f"{service} {statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
        for service, seconds in taken.items()
    )
    return f"- imports: {', '.join(told)} (target: 1)"


def _run_seconds(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def _ms(seconds: Sequence[float], percent: float) -> str:
    return f"{1000 * percentile(seconds, percent):.0f}"


def machine() -> str:
    """Describe what this was measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf", "psycopg2-binary", "sqlalchemy"))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whatever git there is
        capture_output=True,
        check=True,
        text=True,
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip()}: {os.cpu_count()} cores, {platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, {versions}."
    )


def main() -> int:
    """Measure; write the results."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of each comparison (default: %(default)s)")
    options.add_argument("--seconds", type=float, default=3, help="that a measurement takes (default: %(default)s)")
    options.add_argument("--output", type=Path, default=HERE, help="folder of the results (default: %(default)s)")
    options.add_argument("--growth", action="store_true", help="also with millions of tickets and scans stored")
    given = options.parse_args()
    before = [import_line(given.rounds), copy_line(given.rounds)]
    with stand() as its:
        event = publish(its)
        scan = Generator(scan_plan(its, event, sell(its, event, 8), 1, given.seconds)).run()
        shop = its.caller("service", "shop")
        purchase = shop.ask(shop.purchases.PurchaseTickets, purchase_request(event))
        echo = its.start_echo(scan.answers[-1], purchase.SerializeToString())
        bench = Bench(its, echo, given.rounds, given.seconds)
        rows = []
        for row in measure(bench):
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
        curves = {"scan service": list(bench.curve(lambda plan: plan)), "bare echo": list(bench.curve(bench.bare))}
        lines = [*feed_lines(its), *before]
        for row in compare_growth(bench) if given.growth else ():
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
    plot(curves, given.output / "scans.svg")
    how = f"PostgreSQL durable, TLS off, authentication on; medians of {given.rounds} rounds, least and most in brackets, "
    text = (
        "# Measured\n",
        f"{machine()} {how}ratios taken round by round.\n",
        table(rows),
        "\n".join(lines) + "\n",
        "![scans a second and answer times against devices](scans.svg)\n",
    )
    (given.output / "results.md").write_text("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
