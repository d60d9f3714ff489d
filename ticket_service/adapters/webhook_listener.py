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
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from ticket_service.adapters.payment_provider import WebhookParser
from ticketing.chassis.failures import UNAUTHENTICATED, Failure
from ticketing.chassis.server import ListenSettings

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

    def __init__(self, listen: ListenSettings, port: int, parsers: Mapping[str, WebhookParser], wake: Wake) -> None:
        self._listen = listen
        self._port = port
        self._parsers = parsers
        self._wake = wake
        self._connecting: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._refused = 0
        self._warn_time = 0.0

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the port is taken, or the certificate cannot be read.
        """
        self._service_loop = asyncio.get_running_loop()
        self._tls = _tls_context(self._listen)
        self._socket = socket.create_server((self._listen.host, self._port), backlog=BACKLOG)
        self._socket.settimeout(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="provider-webhooks", daemon=True)
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        log.info("taking events of payment providers", extra={"port": port})
        return port

    async def stop(self) -> None:
        """Stop listening; a provider sends unanswered events again."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:
            # Nothing else watches the thread.
            log.exception("the webhook port has ended; the reconciler looks on its schedule")
        finally:
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        server = web.Server(self._answer, access_log=None)
        accepting = asyncio.create_task(self._accept(server))
        await self._stopped.wait()
        accepting.cancel()
        await server.shutdown(timeout=0)

    async def _accept(self, server: web.Server) -> None:
        while True:
            await asyncio.sleep(1 / MAX_CONNECTIONS_PER_SECOND)
            if len(server.connections) + len(self._connecting) >= MAX_CONNECTIONS:
                continue
            try:
                accepted, _ = await self._loop.sock_accept(self._socket)
            except OSError as error:
                # No file descriptor is free, or the client is gone already.
                log.warning("a connection could not be accepted", extra={"error": error.strerror})
                continue
            connecting = self._loop.create_task(self._connect(server, accepted))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self, server: web.Server, accepted: socket.socket) -> None:
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                server,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=CONNECTION_SECONDS if self._tls is not None else None,
            )
        except (OSError, ssl.SSLError):
            accepted.close()
            return
        self._loop.call_later(CONNECTION_SECONDS, transport.abort)

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


def _tls_context(listen: ListenSettings) -> ssl.SSLContext | None:
    """Return the context of the port; no certificate is required of providers, which have none of ours."""
    if listen.tls.identity is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listen.tls.identity.certificate, listen.tls.identity.key)
    return context
