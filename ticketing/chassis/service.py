"""The life of a service process: settings, database, metrics, start and shutdown."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

import psycopg2
import sqlalchemy.exc
import uvloop
from prometheus_client import Gauge, Info
from sqlalchemy.engine import URL

from ticketing.chassis import tracing
from ticketing.chassis.authentication import Authenticator, TokenRequirements
from ticketing.chassis.certificate_watch import CertificateWatch
from ticketing.chassis.clock import Clock
from ticketing.chassis.command_line import Command, CommandLine, Given
from ticketing.chassis.connections import database_url
from ticketing.chassis.database_checks import UnsuitableDatabaseError, check_server
from ticketing.chassis.database_probe import DatabaseProbe
from ticketing.chassis.endpoints import Endpoints
from ticketing.chassis.error_texts import error_text
from ticketing.chassis.file_limit import raise_file_limit
from ticketing.chassis.health import Health
from ticketing.chassis.interceptor import CallInterceptor, LocalTokenVerifier, Policy
from ticketing.chassis.jwks import REFRESH_SECONDS, KeySet
from ticketing.chassis.limits import CallLimiter
from ticketing.chassis.logs import configure_logs, log_uncaught
from ticketing.chassis.migrations import migrate
from ticketing.chassis.postgres import EmbeddedPostgresError, Lease
from ticketing.chassis.server import stop_signal
from ticketing.chassis.service_settings import ServiceSettings
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.chassis.statuses import Catalogue
from ticketing.chassis.tasks import Tasks
from ticketing.chassis.thread_priority import lower_network_priority
from ticketing.chassis.tls import PLAIN
from ticketing.chassis.version import VERSION
from ticketing.chassis.workers.link import LOOPBACK, SupervisorLink, WorkerReport
from ticketing.chassis.workers.program import run_workers

log = logging.getLogger(__name__)

BUILD: Final = Info("ticketing_build", "The version of the program.")
BUILD.info({"version": VERSION})
READY: Final = Gauge("ticketing_ready", "1: the process is ready; of several workers, their number.")

# The word of the command line that migrates the database alone.
MIGRATE: Final = "migrate"

# The number of new objects after which Python's cycle collector runs; the default of 700 is about a dozen calls.
GC_THRESHOLD: Final = 20_000
# The interval at which the files of certificates are checked.
CERTIFICATE_SECONDS: Final = 30.0

# 42P01 undefined_table, 42703 undefined_column.
UNDEFINED: Final = frozenset({"42P01", "42703"})


def call_interceptor(  # noqa: PLR0913, PLR0917 - what an interceptor needs
    settings: ServiceSettings,
    policy: Policy,
    catalogue: Catalogue,
    clock: Clock,
    tasks: Tasks,
    verify_local_token: LocalTokenVerifier | None = None,
    check_method: Callable[[str], None] = lambda _: None,
) -> CallInterceptor:
    """Build the interceptor of a service from its settings, and start to refresh the keys of access tokens."""
    requirements = TokenRequirements(settings.issuer, settings.audience, settings.roles_claim)
    keys = KeySet(settings.jwks.read, clock)
    tasks.sweep("access_keys", keys, REFRESH_SECONDS)
    authenticator = Authenticator(keys, requirements, settings.peer_proof, clock)
    limiter, slow_seconds = CallLimiter(settings.limits, settings.trusted_proxies), settings.slow_call_seconds
    return CallInterceptor(authenticator, policy, catalogue, limiter, verify_local_token, slow_seconds, check_method)


class Program(Protocol):
    """A program that serves until it is stopped."""

    @property
    def health(self) -> Health:
        """The health of the process, to which the tasks of the program contribute."""

    async def start(self) -> int:
        """Serve; return the port, or 0 for a program without one."""

    async def stop(self) -> None:
        """Drain, then close everything; a start that failed half-way calls this too."""


class ProgramSettings(Protocol):
    """The settings of a service, of which the common ones are a part."""

    @property
    def service(self) -> ServiceSettings:
        """The settings that every service has."""


S = TypeVar("S", bound=ProgramSettings)


BuildProgram = Callable[[S, URL], Program]


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """The name, database, migrations and commands of one service."""

    name: str
    database: str
    migrations: Path
    commands: Sequence[Command] = ()


@dataclass(frozen=True, slots=True)
class OtherProgram(Generic[S]):
    """A program of a service beside the service itself, with a word of the command line and settings of its own."""

    meaning: str
    read_settings: Callable[[Environment], S]
    build: BuildProgram[S]


def main(
    definition: ServiceDefinition,
    read_settings: Callable[[Environment], S],
    build: BuildProgram[S],
    other_programs: Mapping[str, OtherProgram[S]] = MappingProxyType({}),
) -> int:
    """Run a service until a signal stops it, or what the command line names: `migrate`, a command, another program.

    Returns:
        The exit status: 0, or that of the command; 1 where the program cannot serve; 2 for wrong arguments or settings.
    """
    others = {
        "": "run the service",
        **{name: program.meaning for name, program in other_programs.items()},
        MIGRATE: "migrate the database and end; every start does so too",
    }
    given = CommandLine(definition.name, definition.commands, others).parse(sys.argv[1:])
    if (other := other_programs.get(given.name)) is not None:
        read_settings, build = other.read_settings, other.build
    # Faults of the settings are logged too.
    configure_logs("INFO", definition.name)
    log_uncaught()
    environment = Environment(os.environ)
    settings = read_settings(environment)
    try:
        environment.check()
        configure_logs(settings.service.log_level, definition.name)
        raise_file_limit()
        if settings.service.is_traced and given.command is None and given.name != MIGRATE:
            tracing.start(definition.name if not given.name else f"{definition.name} {given.name}")
        return _run(given, definition, settings, build)
    except (SettingsError, EmbeddedPostgresError) as error:
        return _complain(given, definition, str(error), 2)
    except (OSError, UnsuitableDatabaseError, psycopg2.OperationalError, sqlalchemy.exc.OperationalError) as error:
        return _complain(given, definition, f"cannot serve: {error_text(getattr(error, 'orig', None) or error)}", 1)
    finally:
        tracing.stop()


def _run(given: Given, definition: ServiceDefinition, settings: S, build: BuildProgram[S]) -> int:
    with _running_database(settings.service, definition) as url:
        check_server(url)
        if given.command is not None and given.arguments is not None:
            return _run_command(given.command.run, url, given.arguments)
        migrate(url, definition.migrations)
        service = settings.service
        if not given.name and service.workers > 1 and not service.listen.shares_port:
            return run_workers(service)
        if given.name != MIGRATE:
            # With asyncio's own loop a small call takes a fifth longer; for streams both loops are equally fast.
            uvloop.run(_serve(lambda: build(settings, url), service, url, definition.name))
    return 0


def _run_command(run: Callable[[URL, Namespace], int], url: URL, arguments: Namespace) -> int:
    try:
        return run(url, arguments)
    except sqlalchemy.exc.ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) in UNDEFINED:
            reason = str(error.orig).partition("\n")[0]
            raise UnsuitableDatabaseError(
                f"the database is not of this version or of another service ({reason}): run `migrate`, or correct the URL"
            ) from error
        raise


def _complain(given: Given, definition: ServiceDefinition, message: str, status: int) -> int:
    """Report why the program ends: to the log of a service, and in plain text to the person who ran a command."""
    if given.command is None:
        first, *faults = [line.strip() for line in message.splitlines()]
        log.critical(first.rstrip(":"), extra={"faults": faults} if faults else {})
    else:
        print(f"{definition.name}: {message}", file=sys.stderr)  # noqa: T201 - a command answers a person
    return status


@contextlib.contextmanager
def _running_database(settings: ServiceSettings, definition: ServiceDefinition) -> Iterator[URL]:
    """Yield the URL of the database; without a setting, the embedded PostgreSQL runs meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with Lease(settings.data_dir) as lease:
        yield database_url(lease.url(definition.database))


def _freeze_start_up_objects() -> None:
    """Exclude all present objects from cycle collection, which stopped the process for 40 ms at a time."""
    gc.collect()
    gc.freeze()
    # Calls leave hardly any cycles, and collection took a tenth of the time.
    gc.set_threshold(GC_THRESHOLD)


async def _serve(build: Callable[[], Program], settings: ServiceSettings, url: URL, name: str) -> None:
    # Objects of grpc.aio belong to the loop that runs when they are created.
    program = build()
    # No client can reach the service yet, so no signal of a client is lost.
    stop_requested = stop_signal()
    link = SupervisorLink.of_environment(os.environ)
    listen, report = settings.listen, program.health.report
    READY.set_function(lambda: report().is_ready)
    endpoints = (
        Endpoints(listen.host, settings.metrics_port, listen.tls, report)
        if link is None
        else Endpoints(LOOPBACK, 0, PLAIN, report)
    )
    try:
        async with process_tasks(program.health.tasks, settings, url, name):
            try:
                port = await program.start()
                program.health.begin()
                lower_network_priority()
                _freeze_start_up_objects()
                # The relay has no port of its own.
                log.info("serving", extra={**({"port": port} if port else {}), "metrics_port": endpoints.port})
                if link is not None:
                    link.stop_with_supervisor()
                    link.report_serving(WorkerReport(endpoints.port))
                await stop_requested.wait()
                log.info("stopping")
            finally:
                program.health.drain()
                await program.stop()
    finally:
        await asyncio.to_thread(endpoints.close)


@contextlib.asynccontextmanager
async def process_tasks(tasks: Tasks, settings: ServiceSettings, url: URL, name: str) -> AsyncIterator[None]:
    """Run the tasks of every process beside those of its program, and stop them all."""
    probe = DatabaseProbe(url, name)
    probe.task(tasks).start()
    if settings.listen.tls != PLAIN:
        tasks.sweep("certificates", CertificateWatch(settings.listen.tls), CERTIFICATE_SECONDS)
    try:
        yield
    finally:
        await tasks.stop()
        probe.close()
