"""Measure whether failing receivers slow sales and scans: `python -m benchmarks.notifications`, two minutes.

Rounds without a relay take turns with rounds with a relay and three failing receivers. A webhook and an SMTP server
accept connections and never answer, and a NATS server does not run. At the end the webhook answers and receives the
backlog.
"""

import socket
import sys
import time

from benchmarks import strangers
from benchmarks.http2 import LoadGenerator
from benchmarks.isolation import WEBHOOK_SECRET
from benchmarks.purchases import purchase_plan
from benchmarks.report import Comparison, round_options, table
from benchmarks.scans import scan_plan
from benchmarks.strangers import stranger
from benchmarks.testbed import Testbed, publish, running_testbed, sell
from dev.clients import free_ports

CALLERS, DEVICES = 64, 64
SCANS_A_SECOND = 3_000
DRAIN_SECONDS = 600.0


def rates(testbed: Testbed, seconds: float) -> tuple[float, float]:
    """Measure sales and scans a second."""
    event = publish(testbed)
    tickets = sell(testbed, event, int(SCANS_A_SECOND * seconds))
    sold = LoadGenerator(purchase_plan(testbed, [event], CALLERS, seconds)).run().rate
    return sold, LoadGenerator(scan_plan(testbed, event, tickets, DEVICES, seconds)).run().rate


def backlog(testbed: Testbed) -> int:
    """Count the notifications that the webhook has not received."""
    statement = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM deliveries WHERE receiver = 'webhook')"
    return int(testbed.query("tickets", statement)[0][0])


def main() -> int:
    """Run the rounds and print a table."""
    given = round_options("benchmarks.notifications", __doc__).parse_args()
    # The kernel completes connections without an accept until the queue is full; then connecting hangs too.
    with running_testbed() as testbed, socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hanging = {
            "TICKETS_WEBHOOK_URL": f"http://{address}/",
            "TICKETS_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TICKETS_SMTP_URL": f"smtp://{address}",
            "TICKETS_MAIL_FROM": "tickets@example.com",
            "TICKETS_NATS_URL": f"nats://127.0.0.1:{free_ports(1)[0]}",
        }
        without, hung = [], []
        for _ in range(given.rounds):
            without.append(rates(testbed, given.seconds))
            with testbed.relay(**hanging):
                hung.append(rates(testbed, given.seconds))
        rows = [
            Comparison(name, [one[n] for one in hung], [one[n] for one in without], "no relay", "its own spread")
            for n, name in enumerate(("sales, receivers hang", "scans, receivers hang"))
        ]
        print(table(rows))
        port = free_ports(1)[0]
        accepting = {**hanging, "TICKETS_WEBHOOK_URL": f"http://127.0.0.1:{port}/"}
        with stranger(strangers.accept_posts, port), testbed.relay(**accepting):
            left, began = backlog(testbed), time.perf_counter()
            while backlog(testbed) and time.perf_counter() < began + DRAIN_SECONDS:
                time.sleep(1)
            print(f"backlog: {left:,}, and {backlog(testbed):,} after {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
