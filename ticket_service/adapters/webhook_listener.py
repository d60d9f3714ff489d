"""Take the events that payment providers send: an HTTP listener on a port of its own.

An event only wakes the reconciler for one payment, so a lost one costs time and no truth. Anybody may reach the port.
The listener therefore runs in a thread with its own event loop, accepts few connections at a time and few in a second,
serves one request on each, and reads bounded bodies. The kernel's queue keeps further connections waiting: a flood of
requests takes a small, fixed share of the processor. Only a verified event reaches the database.
"""

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp import web

from ticket_service.adapters.payment_provider import WebhookParser
from ticketing.chassis.failures import UNAUTHENTICATED, Failure
from ticketing.chassis.server import ListenSettings
from ticketing.chassis.tasks import Tasks
from ticketing.chassis.tls import ServerContext

log = logging.getLogger(__name__)

PATH: Final = "/webhooks/"
MAX_BODY_BYTES: Final = 256 * 1024
MAX_CONNECTIONS: Final = 32
MAX_CONNECTIONS_PER_SECOND: Final = 50
# The time in which a request must be complete and answered; the provider sends an event without an answer again.
CONNECTION_SECONDS: Final = 10.0
WAKE_SECONDS: Final = 5.0
# One warning about refused requests in this time.
WARNING_SECONDS: Final = 60.0
BACKLOG: Final = 64

# Makes a payment due: its provider and id.
Wake = Callable[[str, str], Awaitable[None]]


class WebhookListener:
    """The listener for the events of all providers.

    Args:
        listen: the address, and the certificate of the port.
        parsers: the parser of each provider's events, by its name; the path of its events is PATH and its name.
        wake: runs in the event loop in which `start` was called.
    """

    def __init__(
        self, listen: ListenSettings, port: int, parsers: Mapping[str, WebhookParser], wake: Wake, tasks: Tasks
    ) -> None:
        self._listen = listen
        self._port = port
        self._parsers = parsers
        self._wake = wake
        self._connecting: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._warn_time = 0.0
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="provider-webhooks")
        # A failure starts the loop of the thread again; meanwhile the reconciler looks on its schedule.
        self._task = tasks.new("provider_events", self._run, interval_seconds=0)

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the port is taken, or the certificate cannot be read.
        """
        self._service_loop = asyncio.get_running_loop()
        tls = self._listen.tls
        # No certificate is required of providers, which have none of ours.
        self._context = None if tls.identity is None else ServerContext(tls, asks_callers=False)
        self._socket = socket.create_server(
            (self._listen.host, self._port), backlog=BACKLOG, reuse_port=self._listen.shares_port
        )
        self._socket.settimeout(0)
        self._task.start()
        port: int = self._socket.getsockname()[1]
        log.info("taking events of payment providers", extra={"port": port})
        return port

    async def stop(self) -> None:
        """Stop listening; a provider sends unanswered events again."""
        await self._task.stop()
        await asyncio.to_thread(self._threads.shutdown)
        self._socket.close()

    async def _run(self) -> None:
        """Serve in a thread with its own event loop until this step is cancelled."""
        loop = asyncio.new_event_loop()
        stopped = asyncio.Event()
        serving = asyncio.get_running_loop().run_in_executor(
            self._threads, loop.run_until_complete, self._serve(stopped)
        )
        try:
            await asyncio.shield(serving)
        finally:
            loop.call_soon_threadsafe(stopped.set)
            await asyncio.wait([serving])
            loop.close()

    async def _serve(self, stopped: asyncio.Event) -> None:
        server = web.Server(self._answer, access_log=None)
        accepting = asyncio.create_task(self._accept(server))
        stopping = asyncio.create_task(stopped.wait())
        try:
            while not stopping.done():
                await asyncio.wait({accepting, stopping}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                if accepting.done():
                    accepting.result()
                self._task.record.succeeded()
        finally:
            accepting.cancel()
            stopping.cancel()
            await server.shutdown(timeout=0)

    async def _accept(self, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1 / MAX_CONNECTIONS_PER_SECOND)
            if len(server.connections) + len(self._connecting) >= MAX_CONNECTIONS:
                continue
            try:
                accepted, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                # No file descriptor is free, or the client is gone already.
                self._task.record.failed(error)
                continue
            connecting = loop.create_task(self._connect(server, accepted))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self, server: web.Server, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        context = None if self._context is None else self._context.current()
        handshake_seconds = None if context is None else CONNECTION_SECONDS
        try:
            transport, _ = await loop.connect_accepted_socket(
                server, accepted, ssl=context, ssl_handshake_timeout=handshake_seconds
            )
        except (OSError, ssl.SSLError):
            accepted.close()
            return
        loop.call_later(CONNECTION_SECONDS, transport.abort)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            await self._take(request)
            response = web.Response(text="{}", content_type="application/json")
        except web.HTTPException as refused:
            response = web.Response(status=refused.status, text=refused.text)
            self._count_refused()
        # One request for each connection, so that the bound on connections is a bound on requests.
        response.force_close()
        return response

    async def _take(self, request: web.BaseRequest) -> None:
        name = request.path.removeprefix(PATH)
        parser = self._parsers.get(name) if request.path.startswith(PATH) else None
        if parser is None:
            raise web.HTTPNotFound
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        body = await _body(request)
        try:
            payment_id = parser({key.lower(): value for key, value in request.headers.items()}, body)
        except Failure as failure:
            error = web.HTTPUnauthorized if failure.reason == UNAUTHENTICATED else web.HTTPBadRequest
            raise error(text=json.dumps({"error": failure.message})) from failure
        if payment_id is None:
            return
        queued = asyncio.run_coroutine_threadsafe(_await(self._wake(name, payment_id)), self._service_loop)
        try:
            async with asyncio.timeout(WAKE_SECONDS):
                await asyncio.wrap_future(queued)
        except (Failure, TimeoutError) as error:
            log.warning("an event was not queued; its provider sends it again", extra={"error": str(error)})
            raise web.HTTPServiceUnavailable from error

    def _count_refused(self) -> None:
        self._refused += 1
        if time.monotonic() >= self._warn_time:
            log.warning("requests to the webhook port were refused", extra={"count": self._refused})
            self._refused, self._warn_time = 0, time.monotonic() + WARNING_SECONDS


async def _await(work: Awaitable[None]) -> None:
    await work


async def _body(request: web.BaseRequest) -> bytes:
    """Read a body of at most MAX_BODY_BYTES."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
    body = b""
    async for chunk in request.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, len(body))
    return body
