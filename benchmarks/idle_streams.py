"""Measure the cost of idle gate streams: `python -m benchmarks.idle_streams`, one minute.

The program prints the memory of idle processes, that of one scan-service process with streams, and the latencies of some
scans while all streams are open. docs/capacity.md uses the figures.
"""

import argparse
import selectors
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.http2 import LoadConnection, LoadError, LoadPlan
from benchmarks.report import percentile
from benchmarks.scans import scan_plan
from benchmarks.testbed import Testbed, publish, running_testbed, sell
from ticketing.chassis.file_limit import raise_file_limit

STREAMS = 2_000
SCANS = 500
SETTLE_SECONDS = 20.0
OPEN_SECONDS = 60.0
# The number of streams that open at once; the service rejects more, and this client does not retry.
OPENING = 32


def memory_kb(pid: int) -> int:
    """Return the resident memory of a process in KB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


class IdleStreams:
    """Open streams, whose connections answer the pings of the server."""

    def __init__(self, testbed: Testbed, plan: LoadPlan) -> None:
        self._selector = selectors.DefaultSelector()
        self.connections = list[LoadConnection]()
        opened = 0
        deadline = time.monotonic() + OPEN_SECONDS
        for number in range(plan.connections):
            # Each stream has its own caller, because the streams of one caller are limited.
            own_plan = replace(plan, metadata=testbed.metadata("scanner", f"door {number}"))
            connection = LoadConnection(own_plan, plan.addresses[0])
            self.connections.append(connection)
            self._selector.register(connection.wire, selectors.EVENT_READ, connection)
            while number - opened > OPENING:
                opened += self.receive(1)
        while opened < plan.connections:
            opened += self.receive(1)
            if time.monotonic() > deadline:
                raise LoadError(f"only {opened} streams were opened")

    def receive(self, seconds: float) -> int:
        """Wait for at most `seconds`, read the received bytes and return the number of answers."""
        return sum(key.data.receive() is not None for key, _ in self._selector.select(seconds))

    def idle(self, seconds: float) -> None:
        """Send nothing for `seconds`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.receive(left)

    def scan(self, message: bytes, number: int) -> float:
        """Scan on one stream; return the seconds until its answer."""
        begin = time.perf_counter()
        self.connections[number % len(self.connections)].ask(message, begin)
        while not self.receive(1):
            if time.perf_counter() - begin > OPEN_SECONDS:
                raise LoadError("the service did not answer a scan")
        return time.perf_counter() - begin


def main() -> int:
    """Run the measurement and print it."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.idle_streams", description=__doc__)
    options.add_argument("--streams", type=int, default=STREAMS, help="number of streams (default: %(default)s)")
    streams = options.parse_args().streams
    # Each connection needs an open file, in this process too.
    raise_file_limit()
    with running_testbed() as testbed:
        # A process that has migrated its database keeps Alembic in memory.
        for module, prefix in (("ticket_service", "TICKETS"), ("scan_service", "SCANS")):
            testbed.stop(module)
            testbed.start(module, testbed.address(prefix)[1])
        time.sleep(SETTLE_SECONDS)
        idle = [f"{name} {memory_kb(process.pid) / 1024:.0f} MB" for name, process in testbed.services.items()]
        event = publish(testbed)
        plan = scan_plan(testbed, event, sell(testbed, event, 2 * SCANS), streams, SETTLE_SECONDS)
        pid = testbed.services["scan_service"].pid
        few = IdleStreams(testbed, scan_plan(testbed, event, [], 1, 0))
        first = [few.scan(message, 0) for message in plan.messages[:SCANS]]
        before = memory_kb(pid)
        gates = IdleStreams(testbed, plan)
        gates.idle(SETTLE_SECONDS)
        after = memory_kb(pid)
        # The step spreads the scans over the streams.
        later = [gates.scan(message, 7 * n) for n, message in enumerate(plan.messages[SCANS:])]
    print(f"idle: {', '.join(idle)}; scan_service after {SCANS} scans {before / 1024:.0f} MB")
    print(f"{streams} idle streams: {after / 1024:.0f} MB, {(after - before) / streams:.1f} KB each")
    for name, latencies in (("one stream", first), (f"{streams} streams", later)):
        figures = ", ".join(f"p{percent} {1000 * percentile(latencies, percent):.1f} ms" for percent in (50, 99))
        print(f"scans one by one with {name} open: {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
