"""Measure memory growth: `python -m benchmarks.soak`, ten minutes of steady sales and scans, on Linux."""

import argparse
import statistics
import sys
import threading
import time
from dataclasses import replace

from benchmarks.http2 import LoadGenerator
from benchmarks.idle_streams import memory_kb
from benchmarks.purchases import purchase_plan
from benchmarks.scans import scan_plan
from benchmarks.testbed import publish, running_testbed, sell

MINUTES = 10.0
# A quarter of the capacity of a small machine, so that no request waits.
SCANS_A_SECOND, SALES_A_SECOND = 300.0, 100.0
DEVICES, CALLERS = 50, 16
ROUND_SECONDS = 15.0


def main() -> int:
    """Run the load; print the memory of both services after each round and over the run."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=MINUTES, help="duration in minutes (default: %(default)s)")
    seconds = 60 * options.parse_args().minutes
    memory_by_service: dict[str, list[int]] = {"ticket_service": [], "scan_service": []}
    with running_testbed() as testbed:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            event = publish(testbed)
            tickets = sell(testbed, event, int(SCANS_A_SECOND * ROUND_SECONDS) + DEVICES)
            scans = replace(scan_plan(testbed, event, tickets, DEVICES, ROUND_SECONDS), rate=SCANS_A_SECOND)
            sales = replace(purchase_plan(testbed, [event], CALLERS, ROUND_SECONDS), rate=SALES_A_SECOND)
            selling = threading.Thread(target=LoadGenerator(sales).run)
            selling.start()
            measured = LoadGenerator(scans).run()
            selling.join()
            for name, found in memory_by_service.items():
                found.append(memory_kb(testbed.services[name].pid))
            memory = ", ".join(f"{name} {found[-1] / 1024:.1f} MB" for name, found in memory_by_service.items())
            print(f"{len(measured.answers)} scans answered; {memory}", flush=True)
    for name, found in memory_by_service.items():
        third = max(1, len(found) // 3)
        middle, last = (statistics.median(part) / 1024 for part in (found[third : 2 * third] or found, found[-third:]))
        print(f"{name}: {middle:.1f} MB in the middle third, {last:.1f} MB in the last")
    return 0


if __name__ == "__main__":
    sys.exit(main())
