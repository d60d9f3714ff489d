"""Whether the services grow: `python -m benchmarks.soak`, ten minutes of sales and scans at a steady rate, on Linux."""

import argparse
import statistics
import sys
import threading
import time
from dataclasses import replace

from benchmarks.http2 import Generator
from benchmarks.idle_streams import memory_kb
from benchmarks.purchases import purchase_plan
from benchmarks.scans import scan_plan
from benchmarks.stand import publish, sell, stand

MINUTES = 10.0
# A quarter of what one small machine carries of each, so that nothing ever waits.
SCANS_A_SECOND, SALES_A_SECOND = 300.0, 100.0
DEVICES, CALLERS = 50, 16
ROUND_SECONDS = 15.0


def main() -> int:
    """Go on for a while; tell what both services held in memory meanwhile."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=MINUTES, help="to go on (default: %(default)s)")
    end = time.monotonic() + 60 * options.parse_args().minutes
    seen: dict[str, list[int]] = {"ticket_service": [], "scan_service": []}
    with stand() as its:
        while time.monotonic() < end:
            event = publish(its)
            tickets = sell(its, event, int(SCANS_A_SECOND * ROUND_SECONDS) + DEVICES)
            scans = replace(scan_plan(its, event, tickets, DEVICES, ROUND_SECONDS), rate=SCANS_A_SECOND)
            sales = replace(purchase_plan(its, [event], CALLERS, ROUND_SECONDS), rate=SALES_A_SECOND)
            selling = threading.Thread(target=Generator(sales).run)
            selling.start()
            measured = Generator(scans).run()
            selling.join()
            for name, found in seen.items():
                found.append(memory_kb(its.services[name].pid))
            held = ", ".join(f"{name} {found[-1] / 1024:.1f} MB" for name, found in seen.items())
            print(f"{len(measured.answers)} scans answered; {held}", flush=True)
    for name, found in seen.items():
        third = max(1, len(found) // 3)
        middle, last = (statistics.median(part) / 1024 for part in (found[third : 2 * third] or found, found[-third:]))
        print(f"{name}: {middle:.1f} MB in the middle third, {last:.1f} MB in the last")
    return 0


if __name__ == "__main__":
    sys.exit(main())
