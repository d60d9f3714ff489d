"""The life of a service process: settings, database, metrics, start and shutdown."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import psycopg2
import sqlalchemy.exc
import uvloop
from prometheus_client import Info
from sqlalchemy.engine import URL

from ticketing.chassis.authentication import Authenticator, TokenRequirements
from ticketing.chassis.clock import Clock
from ticketing.chassis.connections import database_url
from ticketing.chassis.database_checks import UnsuitableDatabaseError, check_server
from ticketing.chassis.database_probe import DatabaseProbe
from ticketing.chassis.endpoints import Endpoints
from ticketing.chassis.file_limit import raise_file_limit
from ticketing.chassis.health import Health
from ticketing.chassis.interceptor import CallInterceptor, LocalTokenVerifier, Policy
from ticketing.chassis.jwks import REFRESH_SECONDS, KeySet
from ticketing.chassis.limits import CallLimiter
from ticketing.chassis.logs import configure_logs
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
    return CallInterceptor(
        authenticator, policy, catalogue, CallLimiter(settings.limits), verify_local_token, check_method
    )


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


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """The name, database, migrations and commands of one service."""

    name: str
    database: str
    migrations: Path
    # Commands on the database, by name; each returns its exit status.
    commands: Mapping[str, Callable[[URL], int]] = field(default_factory=dict)
    # Commands that also take arguments, at least one.
    argument_commands: Mapping[str, Callable[[URL, Sequence[str]], int]] = field(default_factory=dict)

    def command(self, words: Sequence[str]) -> Callable[[URL], int] | None:
        """Return the command that the words of a command line name; None where they name none."""
        if len(words) > 1 and (run := self.argument_commands.get(words[0])) is not None:
            return lambda url: run(url, words[1:])
        return self.commands.get(" ".join(words))


BuildProgram = Callable[[S, URL], Program]


def main(
    definition: ServiceDefinition,
    read_settings: Callable[[Environment], S],
    build: BuildProgram[S],
    other_programs: Mapping[str, BuildProgram[S]] = MappingProxyType({}),
) -> int:
    """Run a service until a signal stops it, or the argument of the command line: `migrate`, a command, another program.

    Returns:
        The exit status: 0, or that of the command; 1 where the program cannot serve; 2 for wrong arguments or settings.
    """
    usages = [f"{name} ARGUMENTS" for name in definition.argument_commands]
    arguments = ["migrate", *definition.commands, *usages, *other_programs]
    command = " ".join(sys.argv[1:])
    if command == "--version":
        print(f"{definition.name} {VERSION}")  # noqa: T201 - a command line answers on standard output
        return 0
    if command and definition.command(sys.argv[1:]) is None and command not in {"migrate", *other_programs}:
        return _complain(definition, f"takes no argument but `{'` or `'.join(arguments)}`, not {command}", 2)
    environment = Environment(os.environ)
    settings = read_settings(environment)
    try:
        environment.check()
        configure_logs(settings.service.log_level, definition.name)
        raise_file_limit()
        return _run(command, definition, settings, other_programs.get(command, build))
    except KeyboardInterrupt:
        # Ctrl-C ended the start; later the event loop handles the signal.
        return 130
    except (SettingsError, EmbeddedPostgresError) as error:
        return _complain(definition, str(error), 2)
    except (OSError, UnsuitableDatabaseError, psycopg2.OperationalError, sqlalchemy.exc.OperationalError) as error:
        # The messages of libpq have several lines, to which SQLAlchemy adds one.
        return _complain(definition, f"cannot serve: {' '.join(str(getattr(error, 'orig', error)).split())}", 1)


def _run(command: str, definition: ServiceDefinition, settings: S, build: BuildProgram[S]) -> int:
    with _running_database(settings.service, definition) as url:
        check_server(url)
        if (run_command := definition.command(sys.argv[1:])) is not None:
            return _run_command(run_command, url)
        migrate(url, definition.migrations)
        service = settings.service
        if not command and service.workers > 1 and not service.listen.shares_port:
            return run_workers(service)
        if command != "migrate":
            # With asyncio's own loop a small call takes a fifth longer; for streams both loops are equally fast.
            uvloop.run(_serve(lambda: build(settings, url), service, url, definition.name))
    return 0


def _run_command(command: Callable[[URL], int], url: URL) -> int:
    try:
        return command(url)
    except sqlalchemy.exc.ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) in UNDEFINED:
            reason = str(error.orig).partition("\n")[0]
            raise UnsuitableDatabaseError(
                f"the database is not of this version or of another service ({reason}): run `migrate`, or correct the URL"
            ) from error
        raise


def _complain(definition: ServiceDefinition, message: str, status: int) -> int:
    print(f"{definition.name}: {message}", file=sys.stderr)  # noqa: T201 - logs may not be configured yet
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
                log.info("serving", extra={"port": port, "metrics_port": endpoints.port})
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
        tasks.sweep("certificates", settings.listen.tls, CERTIFICATE_SECONDS)
    try:
        yield
    finally:
        await tasks.stop()
        probe.close()
