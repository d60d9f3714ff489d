"""PostgreSQL by SQLAlchemy Core in a bounded pool of threads: for everything but the hot paths.

A unit of work is a plain function of a connection; it runs in one transaction and must be safe to run again, because
deadlocks and serialization failures are answered by running it again.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.failures import dependency_unavailable, overloaded

log = logging.getLogger(__name__)
T = TypeVar("T")

# What PostgreSQL tells those who lost a race (40001 serialization_failure, 40P01 deadlock_detected).
TRANSIENT: Final = frozenset({"40001", "40P01"})
ATTEMPTS: Final = 5
BACKOFF_SECONDS: Final = 0.02
# Callers that may wait for a thread, for each thread; the next one is refused.
WAITING_PER_THREAD: Final = 32

CONNECT_SECONDS: Final = 3
# Enforced by PostgreSQL, so that a lost client leaves no lock behind and a slow one holds nobody up.
SESSION_MILLISECONDS: Final = {
    "statement_timeout": 10_000,
    "lock_timeout": 5_000,
    "idle_in_transaction_session_timeout": 15_000,
}


def database_url(text: str) -> URL:
    """Read a PostgreSQL URL; a bare `postgresql://` would mean another driver to SQLAlchemy 2.1.

    Raises:
        ValueError: it is no PostgreSQL URL.
    """
    try:
        url = make_url(text)
    except sa.exc.ArgumentError as error:
        raise ValueError("is not a database URL") from error
    if url.get_backend_name() != "postgresql":
        raise ValueError("is not a PostgreSQL URL")
    return url.set(drivername="postgresql+psycopg2")


def connect_arguments(application_name: str) -> dict[str, str | int]:
    """Return the libpq parameters of every connection of ours."""
    session = " ".join(f"-c {name}={value}" for name, value in SESSION_MILLISECONDS.items())
    return {
        "application_name": application_name,
        "connect_timeout": CONNECT_SECONDS,
        "options": f"{session} -c timezone=UTC",
        # A server whose host vanished is noticed while a query waits for it (Linux).
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }


class Database:
    """One database, reached by threads.

    Args:
        url: where it is.
        application_name: what PostgreSQL calls us in pg_stat_activity.
        threads: how many units of work run at once.
    """

    def __init__(self, url: URL, application_name: str, threads: int = 8) -> None:
        self._engine: Engine = sa.create_engine(
            url,
            pool_size=threads,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            # A round trip for each unit of work, accepted: after a restart of PostgreSQL nobody sees an error.
            pool_pre_ping=True,
            connect_args=connect_arguments(application_name),
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"{application_name}-database")
        self._max_under_way = threads * (1 + WAITING_PER_THREAD)
        self._under_way = 0

    async def run(self, work: Callable[[Connection], T], *, isolation: str | None = None) -> T:
        """Run `work` in one transaction in a thread and return what it returns, once committed.

        Raises:
            Failure: OVERLOADED where too many wait; DEPENDENCY_UNAVAILABLE where PostgreSQL does not answer.
        """
        if self._under_way >= self._max_under_way:
            raise overloaded("database work")
        self._under_way += 1
        try:
            loop = asyncio.get_running_loop()
            context = contextvars.copy_context()
            return await loop.run_in_executor(self._threads, lambda: context.run(self.run_here, work, isolation))
        finally:
            self._under_way -= 1

    def run_here(self, work: Callable[[Connection], T], isolation: str | None = None) -> T:
        """Run `work` as `run` does, in the calling thread."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._engine.connect() as connection:
                    if isolation is not None:
                        connection.execution_options(isolation_level=isolation)
                    with connection.begin():
                        return work(connection)
            except PoolTimeoutError as error:
                raise overloaded("database connections") from error
            except DBAPIError as error:
                if _sqlstate(error) not in TRANSIENT:
                    if _is_outage(error):
                        log.warning("the database did not answer", extra={"error": str(error.orig)})
                        raise dependency_unavailable("database") from error
                    raise
                if attempt == ATTEMPTS:
                    raise overloaded("changes to the same rows") from error
            time.sleep(backoff_seconds(attempt, first=BACKOFF_SECONDS, longest=1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self) -> None:
        """Let what has begun end, then close every connection."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()


def _sqlstate(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "pgcode", None)
    return state


def _is_outage(error: DBAPIError) -> bool:
    """Tell a database that is not there, or too slow, from a statement that is wrong."""
    return isinstance(error, OperationalError) or error.connection_invalidated
