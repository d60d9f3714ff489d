"""What gates cost that hold a stream and scan nothing: `python -m benchmarks.idle_streams`, a minute.

Figures are for README or the operator: memory of one scan-service process without streams, with them, and how quickly
some of them are answered while all are open.
"""

import argparse
import selectors
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.http2 import Connection, LoadError, Plan
from benchmarks.report import percentile
from benchmarks.scans import scan_plan
from benchmarks.stand import Stand, publish, sell, stand
from ticketing.chassis.file_limit import raise_file_limit

STREAMS = 2_000
SCANS = 500
SETTLE_SECONDS = 20.0
OPEN_SECONDS = 60.0
# At once; more the service tells to come again, which these do not.
OPENING = 32


def memory_kb(pid: int) -> int:
    """Return what a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


class Gates:
    """Streams that are open; their connections are looked after, for a server's pings want answers.

    Args:
        its: the services.
        plan: what they are opened with.
    """

    def __init__(self, its: Stand, plan: Plan) -> None:
        self._selector = selectors.DefaultSelector()
        self.connections = list[Connection]()
        opened = 0
        deadline = time.monotonic() + OPEN_SECONDS
        for number in range(plan.connections):
            # Each is somebody else's: one caller may not have so many.
            own = replace(plan, metadata=its.metadata("scanner", f"door {number}"))
            connection = Connection(own, plan.addresses[0])
            self.connections.append(connection)
            self._selector.register(connection.wire, selectors.EVENT_READ, connection)
            while number - opened > OPENING:
                opened += self.look(1)
        while opened < plan.connections:
            opened += self.look(1)
            if time.monotonic() > deadline:
                raise LoadError(f"only {opened} streams were opened")

    def look(self, seconds: float) -> int:
        """Take in what has come, after waiting for it; count the answers."""
        return sum(key.data.receive() is not None for key, _ in self._selector.select(seconds))

    def rest(self, seconds: float) -> None:
        """Do nothing for a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.look(left)

    def scan(self, message: bytes, number: int) -> float:
        """Scan at one of them; return how long its answer took."""
        begin = time.perf_counter()
        self.connections[number % len(self.connections)].ask(message, begin)
        while not self.look(1):
            if time.perf_counter() - begin > OPEN_SECONDS:
                raise LoadError("a scan was not answered")
        return time.perf_counter() - begin


def main() -> int:
    """Measure, and print what was seen."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.idle_streams", description=__doc__)
    options.add_argument("--streams", type=int, default=STREAMS, help="to open (default: %(default)s)")
    streams = options.parse_args().streams
    # One file for each connection, here as there.
    raise_file_limit()
    with stand() as its:
        event = publish(its)
        plan = scan_plan(its, event, sell(its, event, 2 * SCANS), streams, SETTLE_SECONDS)
        pid = its.services["scan_service"].pid
        alone = memory_kb(pid)
        few = Gates(its, scan_plan(its, event, [], 1, 0))
        first = [few.scan(message, 0) for message in plan.messages[:SCANS]]
        before = memory_kb(pid)
        gates = Gates(its, plan)
        gates.rest(SETTLE_SECONDS)
        after = memory_kb(pid)
        # At every so many-th gate, so that it is not always the same few.
        later = [gates.scan(message, 7 * n) for n, message in enumerate(plan.messages[SCANS:])]
    print(f"idle process: {alone / 1024:.0f} MB; after {SCANS} scans {before / 1024:.0f} MB")
    print(f"{streams} idle streams: {after / 1024:.0f} MB, {(after - before) / streams:.1f} KB each")
    for name, latencies in (("one stream", first), (f"{streams} streams", later)):
        figures = ", ".join(f"p{percent} {1000 * percentile(latencies, percent):.1f} ms" for percent in (50, 99))
        print(f"scans one by one with {name} open: {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
