"""What two processes of a service carry against one, and what the cores are spent on: `python -m benchmarks.processes`.

Two minutes, on Linux.
"""

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.http2 import Generator, Plan
from benchmarks.purchases import purchase_plan
from benchmarks.report import Row, table
from benchmarks.scans import scan_plan
from benchmarks.stand import Stand, publish, sell, stand
from dev.clients import free_ports

DEVICES, CALLERS = 200, 64
# More than any machine here admits in a second.
MAX_SCANS_PER_SECOND = 5_000
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """One measurement: answers a second, and seconds of a core for each of them, by who spent them."""

    rate: float
    by: dict[str, float]


def spent(its: Stand) -> dict[str, float]:
    """Return the seconds of a core that were spent so far, by whom."""
    found = defaultdict[str, float](float, {"generator": time.process_time()})
    services = {process.pid: name for name, process in its.services.items()}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name = services.get(int(directory.name)) or _of_database(its, directory)
            fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            # It ended meanwhile.
            continue
        if name:
            # User and system time (proc(5): fields 14 and 15).
            found[name] += (int(fields[11]) + int(fields[12])) / TICK
    return found


def _of_database(its: Stand, process: Path) -> str | None:
    """Name a process of this stand's PostgreSQL by its database; None: it is another's."""
    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    if words[:1] != ["postgres:"] or not (process / "cwd").readlink().is_relative_to(its.directory):
        return None
    database = words[2] if len(words) > 2 else ""  # noqa: PLR2004 - "postgres: user database ..."
    return f"PostgreSQL, {database}" if database in {"tickets", "scans"} else "PostgreSQL, the rest"


def measure(its: Stand, plan: Plan) -> Spent:
    """Carry out a plan."""
    before = spent(its)
    measured = Generator(plan).run()
    after = spent(its)
    answers = measured.rate * measured.seconds + plan.warm_up
    return Spent(measured.rate, {name: (after[name] - before[name]) / answers for name in after})


def compare(its: Stand, name: str, plan: Callable[[], Plan], second: tuple[str, int], rounds: int) -> Iterator[str]:
    """Compare one process with two, in turn; say what one of them spends."""
    one, two = list[Spent](), list[Spent]()
    for _ in range(rounds):
        one.append(measure(its, plan()))
        both = plan()
        two.append(measure(its, replace(both, addresses=[*both.addresses, second])))
    row = Row(f"{name}, two processes", [s.rate for s in two], [s.rate for s in one], "a second", "one", "")
    yield table([row])
    cores, rate = os.cpu_count() or 1, statistics.median(s.rate for s in one)
    yield f"One process: microseconds for each of {name}, of {1e6 * cores / rate:,.0f} that {cores} cores have:\n"
    costs = {who: 1e6 * statistics.median(s.by.get(who, 0) for s in one) for who in one[-1].by}
    for who, cost in sorted(costs.items(), key=lambda entry: -entry[1]):
        yield f"- {who}: {cost:.0f}"
    yield ""


def main() -> int:
    """Measure, and print what was seen."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of each comparison (default: %(default)s)")
    options.add_argument("--seconds", type=float, default=3, help="that a measurement takes (default: %(default)s)")
    given = options.parse_args()
    with stand() as its:
        ports = free_ports(2)
        first = dict(its.services)
        for module, port in zip(("ticket_service", "scan_service"), ports, strict=True):
            its.start(module, port)
        second = {f"{module}, the second": process for module, process in its.services.items()}
        its.services.clear()
        its.services.update(first | second)

        def scans() -> Plan:
            event = publish(its)
            tickets = sell(its, event, int(MAX_SCANS_PER_SECOND * given.seconds))
            return scan_plan(its, event, tickets, DEVICES, given.seconds)

        def purchases() -> Plan:
            return purchase_plan(its, [publish(its)], CALLERS, given.seconds)

        for name, plan, port in (("scans", scans, ports[1]), ("purchases", purchases, ports[0])):
            print(*compare(its, name, plan, ("127.0.0.1", port), given.rounds), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
