"""The work of strangers, each in a process of its own.

A stranger repeats its work until the benchmark ends it, and counts what the service has done for it. A caller that the
service refuses waits for the time that the refusal names, as a client does.
"""

import asyncio
import multiprocessing
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Concatenate, ParamSpec, TypeAlias

import grpc
import psycopg2
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from benchmarks.http2 import LoadConnection, LoadGenerator, LoadPlan
from dev.clients import ApiClient
from ticketing.scans.v1 import scan_service_pb2
from ticketing.tickets.v1 import ticket_service_pb2

SETTLE_SECONDS = 0.5
FIRST_SECONDS = 60.0
POLL_SECONDS = 0.05
# A wait after a refusal that names no time.
RETRY_SECONDS = 0.1
MAX_PAGE = 100
# The time that a draining service names (scan_service/gate_stream/stream.py), and the longest first wait of a device.
RECONNECT_SECONDS = 2.0

P = ParamSpec("P")
# The number of pieces of work that the service has done for a stranger.
Done: TypeAlias = "Synchronized[int]"


class IdleStrangerError(Exception):
    """The service did nothing for the stranger, so the measurement beside it compares nothing."""


@dataclass(frozen=True, slots=True)
class Access:
    """The addresses of both services and an access token; a process can receive it."""

    tickets: str
    scans: str
    token: str

    def connect(self) -> ApiClient:
        """Return a client on new connections."""
        local = [("grpc.use_local_subchannel_pool", 1)]
        tickets, scans = (grpc.insecure_channel(address, options=local) for address in (self.tickets, self.scans))
        return ApiClient(tickets, scans, self.token)


@contextmanager
def stranger(work: Callable[Concatenate[Done, P], None], *args: P.args, **kwargs: P.kwargs) -> Iterator[Done]:
    """Run `work` in a process until the block ends; yield its counter once it has counted the first piece of work.

    Raises:
        IdleStrangerError: the service did nothing for the stranger.
    """
    context = multiprocessing.get_context("spawn")
    done: Synchronized[int] = context.Value("q", 0)
    process = context.Process(target=work, args=(done, *args), kwargs=kwargs, daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + FIRST_SECONDS
        while not done.value:
            if time.monotonic() > deadline or not process.is_alive():
                raise IdleStrangerError(work.__name__)
            time.sleep(POLL_SECONDS)
        time.sleep(SETTLE_SECONDS)
        yield done
    finally:
        process.kill()
        process.join()


def draw_pages(done: Done, access: Access, tickets: Sequence[str], callers: int) -> None:
    """Draw the pages of the tickets in turn, with `callers` calls at a time."""
    client = access.connect()

    def draw(ticket_id: str) -> None:
        request = ticket_service_pb2.RenderTicketRequest(
            ticket_id=ticket_id, format=ticket_service_pb2.TICKET_FORMAT_PDF
        )
        client.ask(client.tickets.RenderTicket, request)

    _repeat(done, callers, draw, tickets)


def page_tickets(done: Done, access: Access, event_id: str) -> None:
    """Read the tickets of an event, page by page, again and again."""
    client, token = access.connect(), ""

    def read(_: str) -> None:
        nonlocal token
        request = ticket_service_pb2.ListTicketsRequest(page_size=MAX_PAGE, event_id=event_id, page_token=token)
        token = client.ask(client.tickets.ListTickets, request).next_page_token

    _repeat(done, 1, read, [""])


def read_attendance(done: Done, access: Access, event_id: str, callers: int) -> None:
    """Read the attendance of an event, with `callers` calls at a time."""
    client = access.connect()

    def read(_: str) -> None:
        client.ask(client.scans.GetAttendance, scan_service_pb2.GetAttendanceRequest(event_id=event_id))

    _repeat(done, callers, read, [""])


def invent_tokens(done: Done, access: Access, event_id: str, calls: int) -> None:
    """Call with invented device tokens, `calls` at a time; every refusal counts as work of the service."""
    client = access.connect()
    request = scan_service_pb2.GetAttendanceRequest(event_id=event_id)
    while True:
        pending = [
            client.scans.GetAttendance.future(
                request, metadata=(("authorization", f"Bearer device_{secrets.token_urlsafe(32)}"),), timeout=10
            )
            for _ in range(calls)
        ]
        for call in pending:
            call.exception()
            done.value += 1


def lock_event(done: Done, database_url: str, event_id: str, scans: LoadPlan) -> None:
    """Lock the row of an event in the database of the scan service, and scan at this event meanwhile."""
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM events WHERE event_id = %s FOR UPDATE", (event_id,))
        done.value += 1
        while True:
            LoadGenerator(scans).run()


def reconnect(done: Done, scans: LoadPlan) -> None:
    """Connect every device of a plan again within RECONNECT_SECONDS, as after a restart of the service."""
    devices = deque[LoadConnection]()
    while True:
        devices.append(LoadConnection(scans, scans.addresses[0]))
        # A device waits for a random part of the time that the service names.
        time.sleep(random.expovariate(scans.connections / RECONNECT_SECONDS))
        done.value += 1
        if len(devices) == scans.connections:
            devices.popleft().wire.close()


def accept_mails(done: Done, port: int) -> None:
    """Accept every mail on a port."""

    class Handler:
        async def handle_DATA(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 - the library's name
            done.value += 1
            return "250 OK"

    Controller(Handler(), hostname="127.0.0.1", port=port).start()
    # The server listens, so the relay may start.
    done.value += 1
    threading.Event().wait()


def accept_posts(done: Done, port: int) -> None:
    """Accept every post on a port, in the event loop: a thread for each connection would take the processors."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                done.value += 1

    async def serve() -> None:
        await asyncio.start_server(answer, "127.0.0.1", port)
        # The server listens, so the relay may start.
        done.value += 1
        await asyncio.Event().wait()

    asyncio.run(serve())


def _repeat(done: Done, callers: int, work: Callable[[str], Any], items: Sequence[str]) -> None:
    def call(mine: Sequence[str]) -> None:
        for item in cycle(mine):
            try:
                work(item)
            except grpc.RpcError as error:
                if not isinstance(error, grpc.Call):
                    raise
                time.sleep(_retry_seconds(error))
            else:
                with done.get_lock():
                    done.value += 1

    with ThreadPoolExecutor(callers) as pool:
        list(
            pool.map(call, [items[n::callers] for n in range(callers)] if len(items) >= callers else [items] * callers)
        )


def _retry_seconds(error: grpc.Call) -> float:
    """Return the wait that a refusal names."""
    retry, status = error_details_pb2.RetryInfo(), rpc_status.from_call(error)
    for detail in status.details if status else ():
        detail.Unpack(retry)
    return retry.retry_delay.ToNanoseconds() / 1e9 or RETRY_SECONDS
