"""A PostgreSQL connection driven by the event loop: psycopg2's asynchronous mode with prepared statements.

Only the batched paths and the leader lock use this connection. It needs no thread switches, and several statements
travel in one round trip. psycopg2 sends them as one simple query, and PostgreSQL runs them one after the other, each
with a fresh snapshot, until the first one that fails. The result of a round trip is the result of its last statement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg2
import psycopg2.errors
import psycopg2.extras
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, new_type, register_type
from psycopg2.extensions import connection as AsyncConnection  # noqa: N812 - a class with a lower-case name
from sqlalchemy.engine import URL

from ticketing.chassis import tracing
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.connections import (
    CONNECT_SECONDS,
    OUTAGES,
    READ_ONLY,
    connect_arguments_by_host,
    session_settings,
)
from ticketing.chassis.database import ATTEMPTS, BACKOFF_SECONDS, RowsLocked
from ticketing.chassis.failures import Failure, dependency_unavailable, overloaded
from ticketing.chassis.ids import read_id

T = TypeVar("T")

# Lost races: 40001 and 40P01 as in database.py; with 23505 another process inserted the key after our transaction looked
# for it, and the next attempt finds it.
LOST_RACE: Final = frozenset({"40001", "40P01", "23505"})
# The limit exceeds PostgreSQL's own statement_timeout, because it is for a server that does not answer at all.
ROUND_TRIP_SECONDS: Final = 15.0

# Generic plans are reused, because planning takes 3 ms per batch. The planner reads a small table as a whole, and such a
# plan is slow once the table has grown: 18 ms for 16 of 50,000 rows instead of 0.2 ms. Hence plans without an index are
# disabled.
PLANNER_SETTINGS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Compilation takes longer than any of these statements, and a plan that reads a whole table would look expensive
    # enough for it.
    "jit": "off",
}
# The age at which plans are discarded. For a nearly empty table the planner may choose the wrong index. Without this limit
# such a plan lasted until the next ANALYZE, and the throughput fell to a tenth. Planning all statements takes about 5 ms.
PLAN_SECONDS: Final = 1.0

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
# psycopg2's own reader takes twice the time; 2950 is uuid in pg_type.dat.
register_type(new_type((2950,), "UUID", lambda text, _: None if text is None else read_id(str(text))))


class LoopConnection:
    """A connection that opens at its first use, and again after it broke.

    Every new connection prepares `statements`, by name, each as `(parameter types) AS statement`. A statement must look up
    a few rows by their keys: the planner settings suit nothing else. `limits` are those of `session_settings`.
    """

    def __init__(
        self,
        url: URL,
        application_name: str,
        statements: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._arguments_by_host = connect_arguments_by_host(url, application_name)
        commands = [session_settings(limits), *(f"SET {name} = {value}" for name, value in PLANNER_SETTINGS.items())]
        self._prepare = "; ".join([*commands, *(f"PREPARE {name} {text}" for name, text in statements.items())])
        self._connection: AsyncConnection | None = None
        self._result: asyncio.Future[None] | None = None
        self._descriptor = -1
        self._plans_until = 0.0

    @property
    def connect_seconds(self) -> float:
        """The bound on the time of connecting, to the last host of the URL."""
        return CONNECT_SECONDS * len(self._arguments_by_host)

    async def transact(self, work: Callable[["LoopConnection"], Awaitable[T]]) -> T:
        """Run `work`, which sends BEGIN with its first round trip and COMMIT with its last, at most ATTEMPTS times.

        `work` runs again after a lost race and, once, after a lost connection. After a lost connection it is unknown
        whether PostgreSQL committed, so `work` must recognise its own committed effects.

        Raises:
            RowsLocked: another session has locked a row for longer than lock_timeout; the transaction is rolled back.
            Failure: OVERLOADED after too many lost races, DEPENDENCY_UNAVAILABLE where PostgreSQL does not answer.
        """
        lost_connection = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._open()
                await self._discard_old_plans()
                return await work(self)
            except psycopg2.errors.LockNotAvailable as error:
                await self._rollback()
                raise RowsLocked from error
            except (
                psycopg2.OperationalError,
                psycopg2.InterfaceError,
                psycopg2.errors.ReadOnlySqlTransaction,
                TimeoutError,
            ) as error:
                state = getattr(error, "pgcode", None)
                if state not in LOST_RACE:
                    self.close()
                    # An error with a state, such as a statement that PostgreSQL cancelled (57014), is not retried,
                    # except on a server that has become read-only: the next connection may find the primary.
                    if lost_connection or state not in {None, READ_ONLY}:
                        OUTAGES.write(error)
                        raise dependency_unavailable("database") from error
                    lost_connection = True
                else:
                    await self._rollback()
            except psycopg2.IntegrityError as error:
                await self._rollback()
                if error.pgcode not in LOST_RACE:
                    raise
            except (psycopg2.Error, Failure):
                await self._rollback()
                raise
            except BaseException:
                # After a cancellation or a fault between two round trips, PostgreSQL may still execute a statement.
                self.close()
                raise
            await asyncio.sleep(backoff_seconds(attempt, first=BACKOFF_SECONDS, max_seconds=1))
        raise overloaded("changes to the same rows")

    async def round_trip(self, statements: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Send `statements` in one round trip and return the rows of the last one."""
        connection = self._connection
        if connection is None:
            raise psycopg2.InterfaceError("the connection is closed")
        cursor = connection.cursor()
        with tracing.statement(statements):
            cursor.execute(statements, arguments)
            await self._wait_for_result(connection)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the connection; PostgreSQL rolls back an open transaction."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._unwatch()
        connection.close()

    def _unwatch(self) -> None:
        """Stop to watch the socket, once: a later connection may have its descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)

    async def _open(self) -> None:
        if self._connection is not None:
            return
        connection = await self._connect_to_first_host()
        self._connection = connection
        self._descriptor = connection.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._poll)
        await self.round_trip(self._prepare)

    async def _connect_to_first_host(self) -> AsyncConnection:
        """Connect to the first host of the URL that accepts a writing session; raise the error of the last host."""
        *others, last = self._arguments_by_host
        for arguments in others:
            try:
                return await self._connect_to(arguments)
            except (psycopg2.OperationalError, TimeoutError):
                continue
        return await self._connect_to(last)

    async def _connect_to(self, arguments: dict[str, Any]) -> AsyncConnection:
        # libpq resolves a host name here, blocking; an address needs no lookup.
        connection: AsyncConnection = psycopg2.connect(**arguments, async_=True)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._handshake(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _discard_old_plans(self) -> None:
        """Discard plans older than PLAN_SECONDS, so that they follow the growth of the tables."""
        now = asyncio.get_running_loop().time()
        if now >= self._plans_until:
            await self.round_trip("DISCARD PLANS")
            self._plans_until = now + PLAN_SECONDS

    @staticmethod
    async def _handshake(connection: AsyncConnection) -> None:
        """Complete the handshake; the socket may change during it (several addresses)."""
        loop = asyncio.get_running_loop()
        while (state := connection.poll()) != POLL_OK:
            ready = loop.create_future()
            descriptor = connection.fileno()
            watch = loop.add_reader if state == POLL_READ else loop.add_writer
            unwatch = loop.remove_reader if state == POLL_READ else loop.remove_writer
            watch(descriptor, _complete, ready)
            try:
                await ready
            finally:
                unwatch(descriptor)

    async def _wait_for_result(self, connection: AsyncConnection) -> None:
        loop = asyncio.get_running_loop()
        self._result = loop.create_future()
        timer = loop.call_later(ROUND_TRIP_SECONDS, self._time_out)
        try:
            state = connection.poll()
            if state == POLL_OK:
                # The result is already here: the socket will not become ready again.
                return
            if state == POLL_WRITE:
                # The statements exceed the socket buffer: continue as it drains.
                loop.add_writer(self._descriptor, self._poll)
            await self._result
        finally:
            timer.cancel()
            self._result = None

    def _time_out(self) -> None:
        if self._result is not None and not self._result.done():
            self._result.set_exception(TimeoutError("no answer from PostgreSQL"))

    def _poll(self) -> None:
        """Read the received bytes; the event loop calls this when the socket is ready."""
        connection, result = self._connection, self._result
        if connection is None:
            return
        if result is None or result.done():
            # No statement is under way, so the server closed the connection; the next use opens a new one.
            self.close()
            return
        try:
            state = connection.poll()
        except psycopg2.Error as error:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            if connection.closed:
                # libpq has closed the socket, and another connection may open before the waiting task runs.
                self._unwatch()
            result.set_exception(error)
            return
        if state != POLL_WRITE:
            asyncio.get_running_loop().remove_writer(self._descriptor)
        if state == POLL_OK:
            result.set_result(None)

    async def _rollback(self) -> None:
        if self._connection is None:
            return
        try:
            await self.round_trip("ROLLBACK")
        except (psycopg2.Error, TimeoutError):
            self.close()


def _complete(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
