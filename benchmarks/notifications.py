"""Whether receivers that hang or refuse everything slow sales or gates: `python -m benchmarks.notifications`, 2 minutes.

In rounds: the service with no receiver set, then with a webhook and a mail server that accept and never answer and a NATS
server that is not there. At the end the webhook answers, and what was left is told to it.
"""

import argparse
import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.http2 import Generator
from benchmarks.purchases import purchase_plan
from benchmarks.report import Row, table
from benchmarks.scans import scan_plan
from benchmarks.stand import Stand, publish, sell, stand
from dev.clients import free_ports

CALLERS, DEVICES = 64, 64
SCANS_A_SECOND = 3_000
WEBHOOK_SECRET = "whsec_YmVuY2htYXJrIG9mIG5vdGlmaWNhdGlvbnM="  # noqa: S105 - of nobody
DRAIN_SECONDS = 600.0


class Answering(http.server.BaseHTTPRequestHandler):
    """Takes every post."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextmanager
def answering() -> Iterator[str]:
    """Run a webhook that takes everything."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def rates(its: Stand, receivers: Mapping[str, str], seconds: float) -> tuple[float, float]:
    """Measure sales and scans a second with these receivers."""
    its.stop("ticket_service")
    its.start("ticket_service", its.address("TICKETS")[1], **receivers)
    event = publish(its)
    tickets = sell(its, event, int(SCANS_A_SECOND * seconds))
    sold = Generator(purchase_plan(its, [event], CALLERS, seconds)).run().rate
    return sold, Generator(scan_plan(its, event, tickets, DEVICES, seconds)).run().rate


def waiting(its: Stand) -> int:
    """Count what the webhook has not been told."""
    statement = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM deliveries WHERE receiver = 'webhook')"
    return int(its.query("tickets", statement)[0][0])


def main() -> int:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.notifications", description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of the comparison (default: %(default)s)")
    options.add_argument("--seconds", type=float, default=3, help="that a measurement takes (default: %(default)s)")
    given = options.parse_args()
    # The kernel completes connections that nobody accepts, until its queue is full: then connecting hangs too.
    with stand() as its, socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hanging = {
            "TICKETS_WEBHOOK_URL": f"http://{address}/",
            "TICKETS_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TICKETS_SMTP_URL": f"smtp://{address}",
            "TICKETS_MAIL_FROM": "tickets@example.com",
            "TICKETS_NATS_URL": f"nats://127.0.0.1:{free_ports(1)[0]}",
        }
        without, within = [], []
        for _ in range(given.rounds):
            without.append(rates(its, {}, given.seconds))
            within.append(rates(its, hanging, given.seconds))
        rows = [
            Row(name, [one[n] for one in within], [one[n] for one in without], "a second", "none set", "its own spread")
            for n, name in enumerate(("sales, receivers hang", "scans, receivers hang"))
        ]
        print(table(rows))
        with answering() as url:
            left, began = waiting(its), time.perf_counter()
            its.stop("ticket_service")
            its.start("ticket_service", its.address("TICKETS")[1], **{**hanging, "TICKETS_WEBHOOK_URL": url})
            while waiting(its) and time.perf_counter() < began + DRAIN_SECONDS:
                time.sleep(1)
            print(f"backlog of {left:,}, {waiting(its):,} after {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
