"""The parameters of every connection to PostgreSQL, and the settings of its session.

The settings are sent as statements, because PgBouncer refuses or ignores the startup parameter `options`.
"""

import logging
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final

import psycopg2
import sqlalchemy as sa
from prometheus_client import Counter
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.engine.interfaces import ExceptionContext

from ticketing.chassis import tracing
from ticketing.chassis.error_texts import error_text

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 3
# PostgreSQL enforces these limits, so that a lost client leaves no lock behind and a slow one does not block others.
SESSION_MILLISECONDS: Final = {
    "statement_timeout": 10_000,
    "lock_timeout": 5_000,
    "idle_in_transaction_session_timeout": 15_000,
}
# PostgreSQL ends the session of a host that vanished after 25 s, and with it the leader lock; its default is two hours.
_KEEPALIVES: Final = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
# An acknowledged change survives a crash, also where the database, the role or the server has this setting off.
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
# 25006 read_only_sql_transaction: the server has become a replica, or an operator has made it read-only.
READ_ONLY: Final = "25006"
# 53100 disk_full: the server answers reads, and its probe succeeds.
DISK_FULL: Final = "53100"
OUTAGE_LOG_SECONDS: Final = 5.0
FULL_DISK: Final = Counter(
    "ticketing_database_disk_full", "Changes that failed because the disk of the database is full."
)


class OutageLog:
    """The log of outages of the database: one line in OUTAGE_LOG_SECONDS, because every call and every task meets one."""

    def __init__(self) -> None:
        self._next_time = 0.0
        self._unlogged = 0
        # None: the disk was never full.
        self._full_time: float | None = None

    def write(self, error: object) -> None:
        """Log an outage, or count it."""
        now = monotonic()
        is_full = getattr(error, "pgcode", None) == DISK_FULL
        if is_full:
            self._full_time = now
            FULL_DISK.inc()
        if now < self._next_time:
            self._unlogged += 1
            return
        text = error_text(error) if isinstance(error, BaseException) else str(error)
        message = "the disk of the database is full" if is_full else "the database did not answer"
        log.warning(message, extra={"error": text, "unlogged": self._unlogged})
        self._next_time, self._unlogged = now + OUTAGE_LOG_SECONDS, 0

    def seconds_since_full_disk(self) -> float:
        """Return the time since a change failed because of a full disk; infinite if none did."""
        return inf if self._full_time is None else monotonic() - self._full_time


OUTAGES: Final = OutageLog()


# `unit`: the ConnectionInUse of the unit of work that runs in this thread.
_OF_THREAD: Final = threading.local()


class ConnectionInUse:
    """The connection that one unit of work uses, so that another thread can end its wait.

    libpq waits for an answer without a limit. If a server hangs while its kernel acknowledges packets, such as one whose
    disk hangs, no timeout of TCP ends that wait, and the thread would be lost although another server leads meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_interrupted = False

    def begin(self) -> None:
        """Begin the unit of work in this thread."""
        _OF_THREAD.unit = self

    def end(self) -> None:
        """End the unit of work: its connection belongs to others from now on."""
        _OF_THREAD.unit = None
        with self._lock:
            self._connection = None

    def interrupt(self) -> bool:
        """End the wait for the server; the unit of work fails, and opens no other connection.

        Return whether the unit of work used a connection.
        """
        with self._lock:
            self._is_interrupted = True
            if self._connection is None or self._connection.closed:
                return False
            with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
            return True

    def note(self, connection: Connection) -> None:
        """Note the connection.

        Raises:
            psycopg2.OperationalError: the unit of work was interrupted.
        """
        with self._lock:
            if self._is_interrupted:
                raise psycopg2.OperationalError("the caller no longer waits")
            self._connection = connection


class _NotedConnection(Connection):
    """A connection that notes its use: every statement, also a ping of the pool, begins with a cursor."""

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        unit: ConnectionInUse | None = getattr(_OF_THREAD, "unit", None)
        if unit is not None:
            unit.note(self)
        return super().cursor(*arguments, **options)


def database_url(text: str) -> URL:
    """Parse a PostgreSQL URL and set its driver to psycopg2; SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3.

    Several hosts may stand in the URL as libpq writes them: `postgresql://user@a:5432,b:5432/name`.

    Raises:
        ValueError: `text` is not a PostgreSQL URL.
    """
    try:
        url = make_url(_several_hosts_in_query(text))
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError("is not a database URL") from error
    if url.get_backend_name() != "postgresql":
        raise ValueError("is not a PostgreSQL URL")
    return url.set(drivername="postgresql+psycopg2")


def _several_hosts_in_query(text: str) -> str:
    """Move the hosts of `scheme://user@a:1,b:2/name` to the query, where SQLAlchemy reads several."""
    scheme, separator, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    if "," not in hosts:
        return text
    if "[" in hosts:
        raise ValueError("of several hosts, none can be an IPv6 address in brackets")
    query = "&".join(f"host={host}" for host in hosts.split(","))
    return f"{scheme}{separator}{user}{at}{slash}{path}{'&' if '?' in path else '?'}{query}"


def connect_arguments(application_name: str) -> dict[str, str | int]:
    """Return the libpq parameters of every connection of a service."""
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_SECONDS,
        # libpq refuses a replica and tries the next host of the URL: on a replica, changes become visible in another order.
        "target_session_attrs": "read-write",
        # A query that waits for a server whose host vanished fails after 15 s (Linux).
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }


def connect_arguments_by_host(url: URL, application_name: str) -> list[dict[str, Any]]:
    """Return the parameters of a connection to each host of `url`, in order.

    An asynchronous connection ignores `connect_timeout`, so a host that does not answer would use up the time of all.
    """
    _, given = url.get_dialect()().create_connect_args(url)
    arguments = {**given, **connect_arguments(application_name)}
    hosts = str(arguments.get("host", "")).split(",")
    if len(hosts) == 1:
        return [arguments]
    ports = str(arguments.pop("port", "")).split(",")
    # libpq applies a single port to every host.
    paired = zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True)
    return [{**arguments, "host": host, **({"port": port} if port else {})} for host, port in paired]


def session_settings(limits: Mapping[str, int] | None = None) -> str:
    """Return the statements that set a session up, for one round trip.

    `limits` are settings in milliseconds, in addition to SESSION_MILLISECONDS or instead of them.
    """
    values = {**SESSION_MILLISECONDS, **_KEEPALIVES, **(limits or {})}
    return "; ".join([*(f"SET {name} = {value}" for name, value in values.items()), "SET timezone = 'UTC'", _DURABLE])


def open_engine(url: URL, application_name: str, limits: Mapping[str, int] | None = None, **options: Any) -> Engine:
    """Create an engine whose sessions have the settings of `session_settings`; `options` are those of its pool."""
    engine = sa.create_engine(
        url,
        connect_args={**connect_arguments(application_name), "connection_factory": _NotedConnection},
        # The text of an error is logged, and parameters are names, addresses and digests.
        hide_parameters=True,
        **options,
    )
    statements = session_settings(limits)

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        # In a transaction, its rollback would undo the settings.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)
        connection.autocommit = False

    tracing.record_statements(engine)

    @sa.event.listens_for(engine, "handle_error")
    def renew_connections(context: ExceptionContext) -> None:
        # The pool discards all connections to a server that has become read-only; new ones find the primary.
        if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
            context.is_disconnect = True

    return engine


def connect(url: URL, application_name: str, **arguments: object) -> Connection:
    """Open one blocking connection without the settings of a session; `arguments` replace libpq parameters.

    Raises:
        psycopg2.OperationalError: no host of the URL accepts a writing session.
    """
    _, given = url.get_dialect()().create_connect_args(url)
    merged: dict[str, Any] = {**given, **connect_arguments(application_name), **arguments}
    connection: Connection = psycopg2.connect(**merged)
    return connection
