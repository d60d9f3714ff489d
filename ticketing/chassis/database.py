"""PostgreSQL by SQLAlchemy Core in a bounded pool of threads, for everything but the hot paths.

A unit of work is a plain function of a connection that runs in one transaction. It must be safe to run again, because it
is retried after deadlocks and serialization failures.
"""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeVar

import sqlalchemy as sa
from prometheus_client import Gauge, Histogram
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.connections import CONNECT_SECONDS, OUTAGES, READ_ONLY, ConnectionInUse, open_engine
from ticketing.chassis.failures import OVERLOADED, RETRY_SOON, Failure, dependency_unavailable, overloaded
from ticketing.chassis.waits import waiting_for

log = logging.getLogger(__name__)
T = TypeVar("T")
# A function that returns the failure with which changes are refused at present; None: they are allowed.
Refusal = Callable[[], Failure | None]

_SET_READ_ONLY: Final = sa.text("SET TRANSACTION READ ONLY")

THREADS_OF = Gauge("database_pool_threads", "Threads of a pool, and so the maximum of its connections.", ["pool"])
UNDER_WAY = Gauge("database_pool_under_way", "Units of work of a pool that run or wait for a thread.", ["pool"])
WAIT = Histogram(
    "database_pool_wait_seconds",
    "Time that a unit of work waited for a thread of its pool.",
    ["pool"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2, 10),
)

# Lost races: 40001 serialization_failure, 40P01 deadlock_detected.
TRANSIENT: Final = frozenset({"40001", "40P01"})
# PostgreSQL ended a statement at the limit of its pool: 55P03 lock_not_available, 57014 query_canceled.
LOCKED: Final = "55P03"
TOO_LONG: Final = "57014"
ATTEMPTS: Final = 5
BACKOFF_SECONDS: Final = 0.02
# The maximum number of waiting callers per thread; the next one is OVERLOADED.
WAITING_PER_THREAD: Final = 32
# A server that hangs enforces no limit of its own, and its kernel keeps the connection alive: a caller waits no longer.
MAX_SECONDS: Final = 20.0
# A caller whose statement took too long waits for longer: the same statement at once would take as long.
RETRY_TOO_LONG: Final = timedelta(seconds=5)
# Characters of a statement in the log; it contains no values.
MAX_LOGGED: Final = 200

# PostgreSQL closes a connection that its pool has not used for this time. A pool uses the last returned connection first,
# so after a burst the others close.
IDLE_MILLISECONDS: Final = 60_000
# Lists, searches and counts share a few connections, on which a statement ends sooner than a change.
READ_THREADS: Final = 2
READ_MILLISECONDS: Final = {"statement_timeout": 5_000}
# After a read, its thread rests this many times as long as the read took, at most MAX_REST_SECONDS. The messages of a long
# list take the event loop as long as its read, and both threads serve one caller in turns. So all lists of a process use
# less than half a core, and one caller that reads page after page leaves the rest to others.
READ_REST: Final = 8.0
MAX_REST_SECONDS: Final = 1.0


# The key of the list in `Connection.info` of what follows the commit.
_AFTER_COMMIT: Final = "after_commit"


def after_commit(connection: Connection, action: Callable[[], None]) -> None:
    """Call `action`, which counts what a unit of work did, once its transaction has committed.

    A rollback drops the action, so a unit of work that runs again counts once. A connection that no Database opened
    drops it too.
    """
    if (actions := connection.info.get(_AFTER_COMMIT)) is not None:
        actions.append(action)


class RowsLocked(Failure):
    """The failure of work that waited for a row, which another session has locked, until the lock_timeout of its pool."""

    def __init__(self) -> None:
        message = "too much at once: changes to rows that another session has locked"
        super().__init__(OVERLOADED, message, retry_after=RETRY_SOON)


class Database:
    """A database and the pools of threads and connections that run units of work on it.

    `run` uses the pool of `name`, at most `threads` at once; `read` uses that of its long reads. A connection opens with
    the first work that needs it and closes when it is idle. `limits` are those of `session_settings`. While `refusal`
    returns a failure, transactions are read-only, and work that changes something raises it.
    """

    def __init__(
        self,
        url: URL,
        name: str,
        threads: int = 8,
        limits: Mapping[str, int] | None = None,
        refusal: Refusal = lambda: None,
    ) -> None:
        self._pool = _Pool(url, name, threads, limits or {}, refusal=refusal)
        self._reads = _Pool(url, f"{name} reads", READ_THREADS, READ_MILLISECONDS, READ_REST, refusal)

    async def run(self, work: Callable[[Connection], T], *, isolation: str | None = None) -> T:
        """Run `work` in one transaction in a thread and return its result once committed.

        Raises:
            RowsLocked: another session has locked a row for longer than the lock_timeout of the pool.
            Failure: OVERLOADED where too many callers wait, or a statement took longer than the statement_timeout of the
                pool; DEPENDENCY_UNAVAILABLE where PostgreSQL does not answer.
        """
        return await self._pool.run(work, isolation)

    async def read(self, work: Callable[[Connection], T], *, isolation: str | None = None) -> T:
        """Run `work`, a list, a search or a count, as `run` does, on connections that no other work waits for."""
        return await self._reads.run(work, isolation)

    def run_here(self, work: Callable[[Connection], T], isolation: str | None = None) -> T:
        """Run `work` as `run` does, in the calling thread."""
        return self._pool.run_here(work, isolation)

    async def close(self) -> None:
        """Wait for the units of work that have begun, then close every connection."""
        await asyncio.gather(self._pool.close(), self._reads.close())


class _Pool:
    """Threads with one connection each, and the queue in front of them."""

    def __init__(  # noqa: PLR0913, PLR0917 - the settings of one pool
        self,
        url: URL,
        name: str,
        threads: int,
        limits: Mapping[str, int],
        rest: float = 0.0,
        refusal: Refusal = lambda: None,
    ) -> None:
        self._name = name
        self._refusal = refusal
        self._rest = rest
        # `until` is the end of the rest of each thread, a time of perf_counter().
        self._resting = threading.local()
        self._engine: Engine = open_engine(
            url,
            name,
            {"idle_session_timeout": IDLE_MILLISECONDS, **limits},
            pool_size=threads,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            # The last returned connection is used first, so that the others become idle.
            pool_use_lifo=True,
            # This costs one round trip per unit of work; in return no caller gets an error after PostgreSQL restarts or
            # closes an idle connection.
            pool_pre_ping=True,
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-database")
        self._max_under_way = threads * (1 + WAITING_PER_THREAD)
        self._under_way = 0
        # The callers of the loop come, and units of work end in threads.
        self._counting = threading.Lock()
        self._gauge, self._wait = UNDER_WAY.labels(name), WAIT.labels(name)
        THREADS_OF.labels(name).set(threads)

    async def run(self, work: Callable[[Connection], T], isolation: str | None) -> T:
        if self._under_way >= self._max_under_way:
            raise overloaded("database work")
        in_use, begin = ConnectionInUse(), time.perf_counter()
        try:
            # The name of the function tells the transactions of a pool apart.
            with waiting_for(f"database ({self._name})", **{"code.function.name": getattr(work, "__qualname__", "")}):
                self._count(1)
                context = contextvars.copy_context()
                submitted = self._threads.submit(
                    lambda: context.run(self._run_in_thread, work, isolation, begin, in_use)
                )
                submitted.add_done_callback(lambda _: self._count(-1))
                async with asyncio.timeout(MAX_SECONDS):
                    return await asyncio.wrap_future(submitted)
        except asyncio.CancelledError:
            # The work goes on without its caller, for as long as the caller would have waited.
            rest = max(0.0, MAX_SECONDS - (time.perf_counter() - begin))
            asyncio.get_running_loop().call_later(rest, self._leave_server, in_use)
            raise
        except TimeoutError as error:
            self._leave_server(in_use)
            OUTAGES.write(f"no answer within {MAX_SECONDS:g} s")
            raise dependency_unavailable("database") from error

    def _leave_server(self, in_use: ConnectionInUse) -> None:
        """End the work if it still waits for the server; otherwise its thread would wait for as long as the server hangs."""
        if in_use.interrupt():
            # The next work would wait on the idle connections.
            self._engine.dispose()

    def _count(self, more: int) -> None:
        with self._counting:
            self._under_way += more
        self._gauge.inc(more)

    def _run_in_thread(
        self, work: Callable[[Connection], T], isolation: str | None, begin: float, in_use: ConnectionInUse
    ) -> T:
        if (rest := getattr(self._resting, "until", 0.0) - time.perf_counter()) > 0:
            time.sleep(rest)
        start = time.perf_counter()
        self._wait.observe(start - begin)
        in_use.begin()
        try:
            return self.run_here(work, isolation)
        finally:
            in_use.end()
            end = time.perf_counter()
            self._resting.until = end + min(self._rest * (end - start), MAX_REST_SECONDS)

    def run_here(self, work: Callable[[Connection], T], isolation: str | None) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._engine.connect() as connection:
                    if isolation is not None:
                        connection.execution_options(isolation_level=isolation)
                    connection.info[_AFTER_COMMIT] = actions = list[Callable[[], None]]()
                    with connection.begin():
                        self._forbid_changes(connection)
                        result = work(connection)
                    for action in actions:
                        action()
                    return result
            except PoolTimeoutError as error:
                raise overloaded("database connections") from error
            except DBAPIError as error:
                if (state := getattr(error.orig, "pgcode", None)) not in TRANSIENT:
                    if (failure := self._failure(error, state)) is None:
                        raise
                    raise failure from error
                if attempt == ATTEMPTS:
                    raise overloaded("changes to the same rows") from error
            time.sleep(backoff_seconds(attempt, first=BACKOFF_SECONDS, max_seconds=1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _forbid_changes(self, connection: Connection) -> None:
        if self._refusal() is not None:
            connection.execute(_SET_READ_ONLY)

    def _failure(self, error: DBAPIError, state: str | None) -> Failure | None:
        """Return the Failure of an error of PostgreSQL; None where the statement is wrong."""
        if state in {LOCKED, TOO_LONG}:
            statement = " ".join((error.statement or "").split())[:MAX_LOGGED]
            log.warning(
                "a statement reached a limit", extra={"pool": self._name, "state": state, "statement": statement}
            )
            return RowsLocked() if state == LOCKED else overloaded("work for the database in one call", RETRY_TOO_LONG)
        if state == READ_ONLY and (refused := self._refusal()) is not None:
            return refused
        if isinstance(error, OperationalError) or error.connection_invalidated:
            OUTAGES.write(error.orig)
            return dependency_unavailable("database")
        return None

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()
