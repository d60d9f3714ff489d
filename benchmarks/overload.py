"""Measure services under five times the load that saturates them: `python -m benchmarks.overload [ROW ...]`, four minutes.

Each round of a row measures the peak, then the load beyond it, then the peak again. A process of its own asks for readiness
meanwhile. `--checkout DIR` measures the services of another checkout with the same load.
"""

import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from benchmarks.crowd import Crowd, Reaction
from benchmarks.http2 import LoadPlan
from benchmarks.processes import cpu_seconds
from benchmarks.purchases import purchase_plan
from benchmarks.report import percentile, round_options
from benchmarks.scans import scan_plan
from benchmarks.testbed import Testbed, publish, purchase_request, running_testbed, sell
from dev.clients import free_ports
from ticketing.chassis.probe import answers_http, is_ready
from ticketing.tickets.v1 import event_pb2, ticket_pb2, ticket_service_pb2

CALLERS, DEVICES = 64, 200
TIMES = 5
# The default of TICKETING_MAX_CALLS and that of TICKETING_MAX_STREAMS: the places of one process, and of one caller.
PLACES, STREAMS = 512, 1_000
# An open loop needs an idle connection for each message, and each refusal occupies one until it arrives.
HAMMERING_CALLERS = 4_000
SCANNED_TICKETS = 2_000
# No measured machine answers more calls in a second, refusals included.
MAX_PER_SECOND = 12_000
PROBE_SECONDS = 0.1
READ_PATH = "/ticketing.tickets.v1.TicketService/GetTicket"

Probe = tuple[float, bool]


@dataclass(frozen=True, slots=True)
class Phase:
    """The reaction of a service in one phase, beside what its process was asked about its readiness."""

    name: str
    reaction: Reaction
    # The seconds of each answer about readiness, by gRPC and by HTTP, and whether it was positive.
    grpc: Sequence[Probe]
    http: Sequence[Probe]
    # The share of one core that the process of the service used, and its memory in MB afterwards.
    cpu_share: float
    megabytes: float

    @property
    def rate(self) -> float:
        """Return the accepted messages a second."""
        return self.reaction.in_time / self.reaction.seconds

    def row(self, peak: float) -> str:
        """Format the phase as a row of the table."""
        it = self.reaction
        cells = [
            self.name,
            f"{it.offered / it.seconds:,.0f}",
            f"{self.rate:,.0f}",
            f"{self.rate / peak:.2f}",
            _times(it.accepted, 50, 99),
            f"{len(it.refused) / it.seconds:,.0f}",
            _times(it.refused, 50, 99, 100),
            str(it.without_retry),
            f"{it.max_retry:.1f}",
            str(it.unanswered),
            *(
                f"{sum(not good for _, good in asked)} of {len(asked)}, {_times([s for s, _ in asked], 50, 100)}"
                for asked in (self.grpc, self.http)
            ),
            f"{self.cpu_share:.2f}",
            f"{it.cpu_share:.2f}",
            f"{self.megabytes:.0f}",
        ]
        return f"| {' | '.join(cells)} |"


HEADINGS = (
    "phase",
    "offered/s",
    "accepted/s",
    "of the peak",
    "accepted p50 / p99 ms",
    "refused/s",
    "refused p50 / p99 / max ms",
    "without retry time",
    "longest retry s",
    "unanswered",
    "not ready by gRPC, p50 / max ms",
    "not ready by HTTP",
    "CPU of the service",
    "CPU of the load",
    "MB",
)


def _times(seconds: Sequence[float], *percents: float) -> str:
    return " / ".join(f"{1000 * percentile(seconds, one):,.0f}" for one in percents) if seconds else "-"


def ask_readiness(address: str, metrics: str, file: Path) -> None:
    """Ask a process for its readiness, by gRPC and by HTTP, for ever; append the time, the seconds and the answer."""
    ways: tuple[Callable[[], bool], ...] = (partial(is_ready, address), partial(answers_http, metrics, "/readyz"))
    with file.open("a", buffering=1) as lines:
        while True:
            for kind, ask in enumerate(ways):
                begin = time.perf_counter()
                good = ask()
                lines.write(f"{kind} {begin} {time.perf_counter() - begin} {good:d}\n")
            time.sleep(PROBE_SECONDS)


@contextmanager
def asked_for_readiness(address: str, metrics: str, file: Path) -> Iterator[None]:
    """Ask a process for its readiness during the block, from the first answer on."""
    file.touch()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=ask_readiness, args=(address, metrics, file), daemon=True)
    process.start()
    try:
        while not file.read_text():
            time.sleep(PROBE_SECONDS)
        yield
    finally:
        process.kill()
        process.join()


def read_probes(file: Path, since: float) -> tuple[list[Probe], list[Probe]]:
    """Return the answers to questions that began after a time: those by gRPC, and those by HTTP."""
    found: tuple[list[Probe], list[Probe]] = ([], [])
    for line in file.read_text().splitlines():
        kind, begin, seconds, good = line.split()
        if float(begin) >= since:
            found[int(kind)].append((float(seconds), good == "1"))
    return found


@dataclass
class OverloadRun:
    """One run of the rows on one testbed."""

    bed: Testbed
    seconds: float
    # The file of the answers about the readiness of each service.
    probes: Mapping[str, Path]

    def measure(self, name: str, plan: LoadPlan, *, obeys: bool = True) -> Phase:
        """Run a crowd and ask for readiness meanwhile."""
        module = "scan_service" if plan.first is not None else "ticket_service"
        before, begin = cpu_seconds(self.bed)[module], time.perf_counter()
        reaction = Crowd(replace(plan, expects_refusals=True, seconds=self.seconds), obeys=obeys).run()
        share = (cpu_seconds(self.bed)[module] - before) / (time.perf_counter() - begin)
        asked = read_probes(self.probes[module], begin)
        return Phase(name, reaction, *asked, share, resident_megabytes(self.bed.services[module].pid))

    def purchases(self) -> LoadPlan:
        """Plan purchases of one ticket at a new event."""
        event = publish(self.bed)
        messages = [purchase_request(event).SerializeToString() for _ in range(self._messages)]
        return replace(purchase_plan(self.bed, [event], CALLERS, 0), messages=messages)

    def reads(self) -> LoadPlan:
        """Plan reads of tickets."""
        requests = [
            ticket_service_pb2.GetTicketRequest(ticket_id=ticket.ticket_id).SerializeToString()
            for ticket in self._sold[1]
        ]
        messages = list(itertools.islice(itertools.cycle(requests), self._messages))
        return replace(purchase_plan(self.bed, [], CALLERS, 0), path=READ_PATH, messages=messages)

    def scans(self) -> LoadPlan:
        """Plan scans of tickets of which most are checked in; each scan is recorded."""
        event, tickets = self._sold
        repeated = list(itertools.islice(itertools.cycle(tickets), self._messages))
        return scan_plan(self.bed, event, repeated, DEVICES, self.seconds)

    @property
    def _messages(self) -> int:
        return int(MAX_PER_SECOND * (self.seconds + 2))

    @cached_property
    def _sold(self) -> tuple[event_pb2.Event, Sequence[ticket_pb2.Ticket]]:
        event = publish(self.bed)
        return event, sell(self.bed, event, SCANNED_TICKETS)


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


# The plan of each row, its callers beyond the bound, and the name of that bound.
ROWS: Mapping[str, tuple[Callable[[OverloadRun], LoadPlan], int, str]] = {
    "purchases": (OverloadRun.purchases, TIMES * PLACES, "calls of the process"),
    "reads": (OverloadRun.reads, TIMES * PLACES, "calls of the process"),
    "scans": (OverloadRun.scans, TIMES * STREAMS, "streams of one caller"),
}


def phases(run: OverloadRun, row: str) -> Iterator[Phase]:
    """Measure one round of a row, in this order: peak, overload of three kinds, peak."""
    plan, beyond, bound = ROWS[row]
    saturating = plan(run)
    callers = saturating.connections
    peak = run.measure(f"peak: {callers} callers", saturating)
    yield peak
    yield run.measure(f"{TIMES} times the callers", replace(plan(run), connections=TIMES * callers))
    yield run.measure(f"{beyond} callers, {TIMES} times the bound of {bound}", replace(plan(run), connections=beyond))
    hammering = min(HAMMERING_CALLERS, STREAMS) if saturating.first is not None else HAMMERING_CALLERS
    hammer = replace(plan(run), connections=hammering, rate=TIMES * peak.rate)
    yield run.measure(f"{TIMES} times the rate, nobody waits", hammer, obeys=False)
    yield run.measure("peak again", plan(run))


def main() -> int:
    """Measure the rows named on the command line, or all of them, and print a table of each round."""
    options = round_options("benchmarks.overload", __doc__, rounds=1, seconds=5)
    options.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    options.add_argument("--checkout", type=Path, help="the folder of another checkout, whose services are measured")
    given = options.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        options.error(f"there is no row {', '.join(sorted(unknown))}")
    ports = dict(zip(("ticket_service", "scan_service"), free_ports(2), strict=True))
    settings = {"TICKETS_METRICS_PORT": str(ports["ticket_service"]), "SCANS_METRICS_PORT": str(ports["scan_service"])}
    # Each refusal is logged within bounds.
    with running_testbed(given.checkout and given.checkout.resolve(), TICKETING_LOG_LEVEL="ERROR", **settings) as bed:
        probes = {module: bed.directory / f"{module}.probes" for module in ports}
        for (module, metrics), prefix in zip(ports.items(), ("TICKETS", "SCANS"), strict=True):
            address = "{}:{}".format(*bed.address(prefix))
            bed.stack.enter_context(asked_for_readiness(address, f"127.0.0.1:{metrics}", probes[module]))
        run = OverloadRun(bed, given.seconds, probes)
        for row in given.rows or ROWS:
            for number in range(given.rounds):
                print(f"\n{row}, round {number + 1}, load of the machine {os.getloadavg()[0]:.1f}\n")
                print(f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}")
                peak: float | None = None
                for phase in phases(run, row):
                    peak = peak or phase.rate
                    print(phase.row(peak), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
