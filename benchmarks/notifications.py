"""Measure whether failing receivers slow sales and scans: `python -m benchmarks.notifications`, two minutes.

Rounds without a receiver take turns with rounds with three failing ones. A webhook and an SMTP server accept
connections and never answer, and a NATS server does not run. At the end the webhook answers and receives the backlog.
"""

import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.http2 import LoadGenerator
from benchmarks.purchases import purchase_plan
from benchmarks.report import Comparison, round_options, table
from benchmarks.scans import scan_plan
from benchmarks.testbed import Testbed, publish, running_testbed, sell
from dev.clients import free_ports

CALLERS, DEVICES = 64, 64
SCANS_A_SECOND = 3_000
WEBHOOK_SECRET = "whsec_YmVuY2htYXJrIG9mIG5vdGlmaWNhdGlvbnM="  # noqa: S105 - only this benchmark uses it
DRAIN_SECONDS = 600.0


class AcceptingHandler(http.server.BaseHTTPRequestHandler):
    """A webhook that accepts every notification."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with 204."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


@contextmanager
def accepting_webhook() -> Iterator[str]:
    """Run a webhook that accepts every notification; yield its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AcceptingHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def rates(testbed: Testbed, receivers: Mapping[str, str], seconds: float) -> tuple[float, float]:
    """Restart the ticket service with these receivers; measure sales and scans a second."""
    testbed.stop("ticket_service")
    testbed.start("ticket_service", testbed.address("TICKETS")[1], **receivers)
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
            without.append(rates(testbed, {}, given.seconds))
            hung.append(rates(testbed, hanging, given.seconds))
        rows = [
            Comparison(name, [one[n] for one in hung], [one[n] for one in without], "none set", "its own spread")
            for n, name in enumerate(("sales, receivers hang", "scans, receivers hang"))
        ]
        print(table(rows))
        with accepting_webhook() as url:
            left, began = backlog(testbed), time.perf_counter()
            testbed.stop("ticket_service")
            testbed.start("ticket_service", testbed.address("TICKETS")[1], **{**hanging, "TICKETS_WEBHOOK_URL": url})
            while backlog(testbed) and time.perf_counter() < began + DRAIN_SECONDS:
                time.sleep(1)
            print(f"backlog: {left:,}, and {backlog(testbed):,} after {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
