"""Compare several processes of a service with one, and split the CPU time: `python -m benchmarks.processes`.

The program takes three minutes and needs Linux.
"""

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.http2 import LoadGenerator, LoadPlan
from benchmarks.purchases import purchase_plan
from benchmarks.report import Comparison, round_options, table
from benchmarks.scans import scan_plan
from benchmarks.testbed import Testbed, publish, running_testbed, sell
from dev.clients import free_ports

DEVICES, CALLERS = 200, 64
COUNTS = (1, 2, 4)
# No measured machine admits more scans in a second.
MAX_SCANS_PER_SECOND = 7_000
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement: answers a second, and the CPU seconds of one answer by component."""

    rate: float
    cpu_seconds: dict[str, float]


def cpu_seconds(testbed: Testbed) -> dict[str, float]:
    """Return the CPU seconds used so far by component."""
    found = defaultdict[str, float](float, {"generator": time.process_time()})
    services = {process.pid: name for name, process in testbed.services.items()}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name = services.get(int(directory.name)) or _database_component(testbed, directory)
            fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            # The process has ended.
            continue
        if name:
            # User and system time (proc(5): fields 14 and 15).
            found[name] += (int(fields[11]) + int(fields[12])) / TICK
    return found


def _database_component(testbed: Testbed, process: Path) -> str | None:
    """Return the component of a PostgreSQL process of this testbed by its database; None for any other process."""
    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    if words[:1] != ["postgres:"] or not (process / "cwd").readlink().is_relative_to(testbed.directory):
        return None
    database = words[2] if len(words) > 2 else ""  # noqa: PLR2004 - "postgres: user database ..."
    return f"PostgreSQL, {database}" if database in {"tickets", "scans"} else "PostgreSQL, the rest"


def measure(testbed: Testbed, plan: LoadPlan) -> Cost:
    """Run a plan and measure the CPU time of its answers."""
    before = cpu_seconds(testbed)
    measured = LoadGenerator(plan).run()
    after = cpu_seconds(testbed)
    answers = measured.rate * measured.seconds + plan.warm_up
    return Cost(measured.rate, {name: (after[name] - before[name]) / answers for name in after})


def compare(
    testbed: Testbed, name: str, plan: Callable[[], LoadPlan], ports: Sequence[int], rounds: int
) -> Iterator[str]:
    """Compare one process with several in turns; yield the comparisons and the CPU time of one process.

    `ports` are those of the processes beside the first one.
    """
    costs: dict[int, list[Cost]] = {count: [] for count in COUNTS}
    for _ in range(rounds):
        for count, measured in costs.items():
            its = plan()
            others = [("127.0.0.1", port) for port in ports[: count - 1]]
            measured.append(measure(testbed, replace(its, addresses=[*its.addresses, *others])))
    rates = {count: [cost.rate for cost in measured] for count, measured in costs.items()}
    yield table(
        [Comparison(f"{name}, {count} processes", rates[count], rates[1], "one", "") for count in COUNTS if count > 1]
    )
    cores, rate = os.cpu_count() or 1, statistics.median(rates[1])
    yield f"One process: CPU microseconds per answer ({name}); {cores} cores have {1e6 * cores / rate:,.0f}:\n"
    used = {
        component: 1e6 * statistics.median(cost.cpu_seconds.get(component, 0) for cost in costs[1])
        for component in costs[1][-1].cpu_seconds
    }
    for component, microseconds in sorted(used.items(), key=lambda entry: -entry[1]):
        yield f"- {component}: {microseconds:.0f}"
    yield ""


def main() -> int:
    """Run the comparisons and print them."""
    given = round_options("benchmarks.processes", __doc__).parse_args()
    modules = ("ticket_service", "scan_service")
    with running_testbed() as testbed:
        processes = dict(testbed.services)
        ports: dict[str, list[int]] = {module: free_ports(max(COUNTS) - 1) for module in modules}
        for module in modules:
            for number, port in enumerate(ports[module], 2):
                testbed.start(module, port)
                processes[f"{module}, number {number}"] = testbed.services[module]
        testbed.services.clear()
        testbed.services.update(processes)

        def scans() -> LoadPlan:
            event = publish(testbed)
            tickets = sell(testbed, event, int(MAX_SCANS_PER_SECOND * given.seconds))
            return scan_plan(testbed, event, tickets, DEVICES, given.seconds)

        def purchases() -> LoadPlan:
            return purchase_plan(testbed, [publish(testbed)], CALLERS, given.seconds)

        for name, plan, module in (("scans", scans, "scan_service"), ("purchases", purchases, "ticket_service")):
            print(*compare(testbed, name, plan, ports[module], given.rounds), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
