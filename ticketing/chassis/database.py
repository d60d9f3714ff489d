"""PostgreSQL by SQLAlchemy Core in a bounded pool of threads, for everything but the hot paths.

A unit of work is a plain function of a connection that runs in one transaction. It must be safe to run again, because it
is retried after deadlocks and serialization failures.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.connections import CONNECT_SECONDS, open_engine
from ticketing.chassis.failures import dependency_unavailable, overloaded

log = logging.getLogger(__name__)
T = TypeVar("T")

# Lost races: 40001 serialization_failure, 40P01 deadlock_detected.
TRANSIENT: Final = frozenset({"40001", "40P01"})
ATTEMPTS: Final = 5
BACKOFF_SECONDS: Final = 0.02
# The maximum number of waiting callers per thread; the next one is OVERLOADED.
WAITING_PER_THREAD: Final = 32


class Database:
    """A database and the thread pool that runs units of work on it, at most `threads` at once."""

    def __init__(self, url: URL, application_name: str, threads: int = 8) -> None:
        self._engine: Engine = open_engine(
            url,
            application_name,
            pool_size=threads,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            # This costs one round trip per unit of work; in return no caller gets an error after PostgreSQL restarts.
            pool_pre_ping=True,
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"{application_name}-database")
        self._max_under_way = threads * (1 + WAITING_PER_THREAD)
        self._under_way = 0

    async def run(self, work: Callable[[Connection], T], *, isolation: str | None = None) -> T:
        """Run `work` in one transaction in a thread and return its result once committed.

        Raises:
            Failure: OVERLOADED where too many callers wait; DEPENDENCY_UNAVAILABLE where PostgreSQL does not answer.
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
                if getattr(error.orig, "pgcode", None) not in TRANSIENT:
                    # The database is unreachable or too slow; with any other error the statement is wrong.
                    if isinstance(error, OperationalError) or error.connection_invalidated:
                        log.warning("the database did not answer", extra={"error": str(error.orig)})
                        raise dependency_unavailable("database") from error
                    raise
                if attempt == ATTEMPTS:
                    raise overloaded("changes to the same rows") from error
            time.sleep(backoff_seconds(attempt, first=BACKOFF_SECONDS, max_seconds=1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self) -> None:
        """Wait for the units of work that have begun, then close every connection."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()
