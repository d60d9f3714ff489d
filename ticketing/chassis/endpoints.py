"""The HTTP port of a process: /metrics for Prometheus, /livez and /readyz for its supervisor.

The port has threads of its own, so it answers while the event loop is busy or hangs. Each connection serves one request,
and its thread ends after a few seconds: a slow client occupies one of a few threads, not the port.
"""

import json
import logging
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from time import monotonic
from typing import Any, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from ticketing.chassis.health import HealthReport
from ticketing.chassis.tls import ServerContext, Tls

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 32
# The time for a request and its answer.
CONNECTION_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.25


class Endpoints:
    """The port of one process."""

    def __init__(
        self, host: str, port: int, tls: Tls, report: Callable[[], HealthReport], registry: CollectorRegistry = REGISTRY
    ) -> None:
        """Listen; a thread of the port calls `report` for each request about health.

        Raises:
            OSError: the address is taken, or a certificate cannot be read.
        """
        try:
            family = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0][0]
            context = None if tls.identity is None else ServerContext(tls, asks_callers=True)
            self._server = _Server(family, (host.strip("[]"), port), context)
        except OSError as error:
            raise OSError(f"no metrics on {host}:{port}: {error.strerror or error}") from error
        self._server.set_app(_Application(report, registry))
        self._thread = Thread(target=self._server.serve_forever, args=(LOOK_SECONDS,), name="endpoints", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port, which the system may have chosen."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening; block for less than a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Application:
    def __init__(self, report: Callable[[], HealthReport], registry: CollectorRegistry) -> None:
        self._report = report
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in {"/livez", "/readyz"}:
            report = self._report()
            is_good = report.is_alive if path == "/livez" else report.is_ready
            body: dict[str, object] = {"status": "ok" if is_good else "failed"}
            if path == "/readyz":
                body |= {"not_ready": report.not_ready, "warnings": report.warnings}
            start_response("200 OK" if is_good else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [json.dumps(body).encode() + b"\n"]
        if path in {"/", "/metrics"}:
            return cast(Iterable[bytes], self._metrics(environ, start_response))
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics, /livez, /readyz\n"]


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Log no requests."""


class _Server(ThreadingMixIn, WSGIServer):
    """A server with a thread for each of at most MAX_CONNECTIONS connections, each bounded in time."""

    daemon_threads = True
    # The end of the process does not wait for a slow client.
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, family: int, address: tuple[str, int], context: ServerContext | None) -> None:
        self.address_family = family
        self._context = context
        # The open connections, with the times at which they end.
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind as HTTPServer does, without its look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # bytes for AF_UNIX only
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; its thread does the handshake, so that it blocks no other connection."""
        accepted, address = super().get_request()
        if self._context is None:
            return accepted, address
        context = self._context.current()
        return context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), address

    def verify_request(self, request: Any, _: Any) -> bool:
        """Refuse a connection while all threads are occupied."""
        if len(self._open) >= MAX_CONNECTIONS:
            return False
        self._open[request] = monotonic() + CONNECTION_SECONDS
        return True

    def service_actions(self) -> None:
        """End the connections that took too long, which ends their threads."""
        now = monotonic()
        for connection in [connection for connection, end in list(self._open.items()) if end < now]:
            with suppress(OSError):
                # That of an SSLSocket would not end a read in another thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Log no error of a client, which is gone, has no valid certificate, or took too long."""
        log.debug("a connection to the HTTP port failed: %r", sys.exc_info()[1])
