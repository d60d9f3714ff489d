"""What is the same in the life of every service: its settings, its database, its metrics, its start and its end."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy.exc
from prometheus_client import start_http_server
from sqlalchemy.engine import URL

from chassis.authentication import Authenticator, Expected, KeySet, read_key_set
from chassis.calls import CallInterceptor, Limit, OwnTokens, Policy
from chassis.clock import Clock
from chassis.database import database_url
from chassis.file_limit import raise_file_limit
from chassis.logs import configure_logs
from chassis.migrations import migrate
from chassis.postgres import EmbeddedPostgresError, Lease
from chassis.server import Listen, stop_signal
from chassis.settings import Environment, SettingsError
from chassis.statuses import Catalogue

log = logging.getLogger(__name__)

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SECRET_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings that every service has."""

    listen: Listen
    metrics_port: int
    data_dir: Path
    # None: the embedded PostgreSQL in data_dir.
    database_url: URL | None
    jwks_file: Path
    issuer: str
    audience: str
    roles_claim: str
    peer_secret: str
    max_calls: int
    log_level: str


def read_service_settings(environment: Environment, prefix: str, port: int, metrics_port: int) -> ServiceSettings:
    """Read them; `prefix` and the default ports are the service's own."""
    url_name = f"{prefix}_DATABASE_URL"
    url = None
    if text := environment.optional(url_name):
        try:
            url = database_url(text)
        except ValueError as error:
            environment.fault(url_name, str(error))
    jwks_file = environment.path("TICKETING_JWKS_FILE")
    if environment.optional("TICKETING_JWKS_FILE"):
        try:
            read_key_set(jwks_file)
        except (OSError, ValueError) as error:
            environment.fault("TICKETING_JWKS_FILE", f"{jwks_file} {error}")
    return ServiceSettings(
        listen=Listen(
            host=environment.text("TICKETING_HOST", "127.0.0.1"),
            port=environment.port(f"{prefix}_PORT", port),
            drain_seconds=environment.seconds("TICKETING_DRAIN_SECONDS", 10, least=0, most=300),
        ),
        metrics_port=environment.port(f"{prefix}_METRICS_PORT", metrics_port),
        data_dir=environment.path("TICKETING_DATA_DIR", ".data"),
        database_url=url,
        jwks_file=jwks_file,
        issuer=environment.text("TICKETING_ISSUER", "ticketing"),
        audience=environment.text("TICKETING_AUDIENCE", "ticketing"),
        roles_claim=environment.text("TICKETING_ROLES_CLAIM", "roles"),
        peer_secret=environment.text("TICKETING_PEER_SECRET", least=SECRET_CHARACTERS),
        max_calls=environment.number("TICKETING_MAX_CALLS", 512, least=1, most=100_000),
        log_level=environment.choice("TICKETING_LOG_LEVEL", "INFO", LOG_LEVELS),
    )


def call_interceptor(
    settings: ServiceSettings,
    policy: Policy,
    catalogue: Catalogue,
    clock: Clock,
    own_tokens: OwnTokens | None = None,
) -> CallInterceptor:
    """Make what stands around every call of a service."""
    expected = Expected(settings.issuer, settings.audience, settings.roles_claim)
    authenticator = Authenticator(KeySet(settings.jwks_file, clock), expected, settings.peer_secret, clock)
    return CallInterceptor(authenticator, policy, catalogue, Limit(settings.max_calls), own_tokens)


class App(Protocol):
    """A service that can be started and stopped."""

    async def start(self) -> int:
        """Serve; return the port."""

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


def main(parts: Parts, read: Callable[[Environment], S], make: Callable[[S, URL], App]) -> int:
    """Run a service until it is told to stop, or with one argument do that: `migrate`, or a command of its own.

    Returns:
        The exit status: 0 or the command's; 1 where it cannot serve; 2 where it was started wrongly.
    """
    arguments = ["migrate", *parts.commands]
    command = " ".join(sys.argv[1:])
    if command and command not in arguments:
        return _complain(parts, f"takes no argument but `{'` or `'.join(arguments)}`, not {command}", 2)
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
            if not command:
                asyncio.run(_serve(lambda: make(settings, url), settings.service))
    except KeyboardInterrupt:
        # Ctrl-C while still starting; once it serves, the event loop takes the signal.
        return 130
    except (SettingsError, EmbeddedPostgresError) as error:
        return _complain(parts, str(error), 2)
    except (OSError, sqlalchemy.exc.OperationalError) as error:
        return _complain(parts, f"cannot serve: {error}", 1)
    return 0


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


async def _serve(make: Callable[[], App], settings: ServiceSettings) -> None:
    # Inside the loop: what grpc.aio makes belongs to the loop that runs at that moment.
    app = make()
    # Before anyone can know that we serve: whoever then tells us to stop is heard.
    told_to_stop = stop_signal()
    try:
        metrics, thread = start_http_server(settings.metrics_port, settings.listen.host)
    except OSError as error:
        raise OSError(f"no metrics on {settings.listen.host}:{settings.metrics_port}: {error.strerror}") from error
    try:
        port = await app.start()
        log.info("serving", extra={"port": port, "metrics_port": metrics.server_port})
        await told_to_stop.wait()
        log.info("stopping")
    finally:
        # Also after a start that failed half-way: what it opened is closed.
        await app.stop()
        metrics.shutdown()
        metrics.server_close()
        thread.join()
