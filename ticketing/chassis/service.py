"""What is the same in the life of every service: its settings, its database, its metrics, its start and its end."""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Final, Protocol, TypeVar
from wsgiref.simple_server import WSGIServer

import sqlalchemy.exc
import uvloop
from prometheus_client import Info, start_http_server
from sqlalchemy.engine import URL

from ticketing.chassis.authentication import Authenticator, Expected, PeerProof
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import database_url
from ticketing.chassis.file_limit import raise_file_limit
from ticketing.chassis.interceptor import CallInterceptor, OwnTokens, Policy
from ticketing.chassis.jwks import File, KeySet, Web, parsed
from ticketing.chassis.limits import Limits, Throttle
from ticketing.chassis.logs import configure_logs
from ticketing.chassis.migrations import migrate
from ticketing.chassis.peer_client import PeerClient
from ticketing.chassis.postgres import EmbeddedPostgresError, Lease
from ticketing.chassis.server import Listen, stop_signal
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.chassis.statuses import Catalogue
from ticketing.chassis.thread_priority import put_network_last
from ticketing.chassis.tls import Tls, is_loopback, read_tls
from ticketing.chassis.version import VERSION

log = logging.getLogger(__name__)

BUILD: Final = Info("ticketing_build", "The version of the program.")
BUILD.info({"version": VERSION})

# Objects that may be made, net, before the collector looks at them; Python's own 700 is a dozen calls.
COLLECTED_AFTER: Final = 20_000

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SECRET_CHARACTERS = 32
_PLAIN_TEXT = "others can reach it, and that without TLS; set TICKETING_TLS_* or TICKETING_ALLOW_PLAINTEXT=yes"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings that every service has."""

    listen: Listen
    metrics_port: int
    data_dir: Path
    # None: the embedded PostgreSQL in data_dir.
    database_url: URL | None
    jwks: File | Web
    issuer: str
    audience: str
    roles_claim: str
    peer_proof: PeerProof
    # Plain text may leave this machine.
    allow_plaintext: bool
    limits: Limits
    log_level: str

    def peer(self, address: str) -> PeerClient:
        """Make the way to the other service."""
        return PeerClient(address, self.peer_proof.secret, self.listen.tls)


def read_service_settings(environment: Environment, prefix: str, port: int, metrics_port: int) -> ServiceSettings:
    """Read them; `prefix` and the default ports are the service's own."""
    url_name = f"{prefix}_DATABASE_URL"
    url = None
    if text := environment.optional(url_name):
        try:
            url = database_url(text)
        except ValueError as error:
            environment.fault(url_name, str(error))
    tls = read_tls(environment)
    allow_plaintext = environment.flag("TICKETING_ALLOW_PLAINTEXT")
    host = environment.text("TICKETING_HOST", "127.0.0.1")
    if tls.identity is None and not allow_plaintext and not is_loopback(host):
        environment.fault("TICKETING_HOST", f"is {host}: {_PLAIN_TEXT}")
    return ServiceSettings(
        listen=Listen(
            host=host,
            port=environment.port(f"{prefix}_PORT", port),
            drain_seconds=environment.seconds("TICKETING_DRAIN_SECONDS", 10, minimum=0, maximum=300),
            tls=tls,
        ),
        metrics_port=environment.port(f"{prefix}_METRICS_PORT", metrics_port),
        data_dir=environment.path("TICKETING_DATA_DIR", ".data"),
        database_url=url,
        jwks=_read_jwks(environment),
        issuer=environment.text("TICKETING_ISSUER", "ticketing"),
        audience=environment.text("TICKETING_AUDIENCE", "ticketing"),
        roles_claim=environment.text("TICKETING_ROLES_CLAIM", "roles"),
        peer_proof=_read_peer_proof(environment, tls),
        allow_plaintext=allow_plaintext,
        limits=_read_limits(environment),
        log_level=environment.choice("TICKETING_LOG_LEVEL", "INFO", LOG_LEVELS),
    )


def read_peer_address(environment: Environment, name: str, default: str, settings: ServiceSettings) -> str:
    """Read the `host:port` of the other service."""
    address = environment.text(name, default)
    plain = settings.listen.tls.server_ca is None and not settings.allow_plaintext
    if plain and not is_loopback(address.rpartition(":")[0]):
        environment.fault(name, f"is {address}: {_PLAIN_TEXT}")
    return address


def _read_limits(environment: Environment) -> Limits:
    usual = Limits()
    return Limits(
        calls=environment.number("TICKETING_MAX_CALLS", usual.calls, minimum=1, maximum=100_000),
        calls_per_second=environment.number(
            "TICKETING_MAX_CALLS_PER_SECOND", usual.calls_per_second, minimum=1, maximum=1_000_000
        ),
        streams=environment.number("TICKETING_MAX_STREAMS", usual.streams, minimum=1, maximum=100_000),
        device_streams=environment.number(
            "TICKETING_MAX_DEVICE_STREAMS", usual.device_streams, minimum=2, maximum=100_000
        ),
    )


def _read_jwks(environment: Environment) -> File | Web:
    """Read where the JWK set is; a file has to be good by now, a URL may answer later."""
    if url := environment.optional("TICKETING_JWKS_URL"):
        if environment.optional("TICKETING_JWKS_FILE"):
            environment.fault("TICKETING_JWKS_URL", "and TICKETING_JWKS_FILE cannot both be set")
        try:
            return Web(url)
        except ValueError as error:
            environment.fault("TICKETING_JWKS_URL", str(error))
    file = File(environment.path("TICKETING_JWKS_FILE"))
    if environment.optional("TICKETING_JWKS_FILE"):
        try:
            parsed(file.read())
        except (OSError, ValueError) as error:
            environment.fault("TICKETING_JWKS_FILE", f"{file.path} {error}")
    return file


def _read_peer_proof(environment: Environment, tls: Tls) -> PeerProof:
    """Read what makes the other service: a secret, a name in its certificate, or either."""
    name = environment.optional("TICKETING_PEER_NAME") or ""
    if name and tls.client_ca is None:
        environment.fault("TICKETING_PEER_NAME", "is of no use without TICKETING_TLS_CLIENT_CA")
    if name and environment.optional("TICKETING_PEER_SECRET") is None:
        return PeerProof(name=name)
    return PeerProof(environment.text("TICKETING_PEER_SECRET", min_length=SECRET_CHARACTERS), name)


def call_interceptor(
    settings: ServiceSettings,
    policy: Policy,
    catalogue: Catalogue,
    clock: Clock,
    own_tokens: OwnTokens | None = None,
) -> CallInterceptor:
    """Make what stands around every call of a service."""
    expected = Expected(settings.issuer, settings.audience, settings.roles_claim)
    authenticator = Authenticator(KeySet(settings.jwks.read, clock), expected, settings.peer_proof, clock)
    return CallInterceptor(authenticator, policy, catalogue, Throttle(settings.limits), own_tokens)


class App(Protocol):
    """A service that can be started and stopped."""

    async def start(self) -> int:
        """Serve; return the port, or 0 where it listens nowhere."""

    async def stop(self) -> None:
        """Drain, then let go of everything."""


class HasServiceSettings(Protocol):
    """A service's own settings, of which these are a part."""

    @property
    def service(self) -> ServiceSettings:
        """The settings that every service has."""


S = TypeVar("S", bound=HasServiceSettings)


@dataclass(frozen=True, slots=True)
class Parts:
    """What makes one service another than the next."""

    name: str
    database: str
    migrations: Path
    # By name: what can be done with the database instead of serving; returns the exit status.
    commands: Mapping[str, Callable[[URL], int]] = field(default_factory=dict)


Make = Callable[[S, URL], App]


def main(
    parts: Parts, read: Callable[[Environment], S], make: Make[S], others: Mapping[str, Make[S]] = MappingProxyType({})
) -> int:
    """Run a service until it is told to stop, or with one argument do that: `migrate`, or a command of its own.

    Args:
        parts: of the service.
        read: reads its settings.
        make: puts it together.
        others: by argument: what runs in its place, with the same settings.

    Returns:
        The exit status: 0 or the command's; 1 where it cannot serve; 2 where it was started wrongly.
    """
    arguments = ["migrate", *parts.commands, *others]
    command = " ".join(sys.argv[1:])
    if command and command not in arguments:
        return _print_version(parts) if command == "--version" else _complain_of(command, arguments, parts)
    environment = Environment(os.environ)
    settings = read(environment)
    try:
        environment.check()
        configure_logs(settings.service.log_level, parts.name)
        raise_file_limit()
        with _reachable_database(settings.service, parts) as url:
            if command in parts.commands:
                return parts.commands[command](url)
            migrate(url, parts.migrations)
            if command != "migrate":
                # asyncio's own loop takes a fifth of a small call; for streams the two are alike.
                uvloop.run(_serve(lambda: others.get(command, make)(settings, url), settings.service))
    except KeyboardInterrupt:
        # Ctrl-C while still starting; once it serves, the event loop takes the signal.
        return 130
    except (SettingsError, EmbeddedPostgresError) as error:
        return _complain(parts, str(error), 2)
    except (OSError, sqlalchemy.exc.OperationalError) as error:
        return _complain(parts, f"cannot serve: {error}", 1)
    return 0


def _print_version(parts: Parts) -> int:
    print(f"{parts.name} {VERSION}")  # noqa: T201 - a command line answers on standard output
    return 0


def _complain_of(command: str, arguments: Sequence[str], parts: Parts) -> int:
    return _complain(parts, f"takes no argument but `{'` or `'.join(arguments)}`, not {command}", 2)


def _complain(parts: Parts, message: str, status: int) -> int:
    print(f"{parts.name}: {message}", file=sys.stderr)  # noqa: T201 - logs may not be configured yet
    return status


@contextlib.contextmanager
def _reachable_database(settings: ServiceSettings, parts: Parts) -> Iterator[URL]:
    """Give the database's URL; the embedded PostgreSQL runs as long as anyone is in here."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with Lease(settings.data_dir) as server:
        yield database_url(server.url(parts.database))


def _start_metrics(settings: ServiceSettings) -> tuple[WSGIServer, Thread]:
    """Serve metrics, by the same certificates as calls; those that are renewed are taken up at the next start."""
    tls = settings.listen.tls
    if tls.identity is None:
        return start_http_server(settings.metrics_port, settings.listen.host)
    server, thread = start_http_server(
        settings.metrics_port,
        settings.listen.host,
        certfile=str(tls.identity.certificate),
        keyfile=str(tls.identity.key),
        client_cafile=None if tls.client_ca is None else str(tls.client_ca),
        client_auth_required=tls.client_ca is not None,
    )
    # Each in its own thread: else one that connects and says nothing keeps everybody out, and the service from stopping.
    server.socket.do_handshake_on_connect = False  # type: ignore[attr-defined]  # of the SSLSocket that it is here
    return server, thread


def _leave_to_the_collector_what_comes() -> None:
    """Spare Python's cycle collector what was made up to here, which stays: it stopped everything for 40 ms at a time.

    And let it look less often: what a call leaves behind has hardly a cycle, and looking took a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)


async def _serve(make: Callable[[], App], settings: ServiceSettings) -> None:
    # Inside the loop: what grpc.aio makes belongs to the loop that runs at that moment.
    app = make()
    # Before anyone can know that we serve: whoever then tells us to stop is heard.
    told_to_stop = stop_signal()
    try:
        metrics, thread = _start_metrics(settings)
    except OSError as error:
        raise OSError(f"no metrics on {settings.listen.host}:{settings.metrics_port}: {error.strerror}") from error
    try:
        port = await app.start()
        put_network_last()
        _leave_to_the_collector_what_comes()
        log.info("serving", extra={"port": port, "metrics_port": metrics.server_port})
        await told_to_stop.wait()
        log.info("stopping")
    finally:
        # Also after a start that failed half-way: what it opened is closed.
        await app.stop()
        metrics.shutdown()
        metrics.server_close()
        thread.join()
