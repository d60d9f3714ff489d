"""One PostgreSQL connection driven by the event loop: psycopg2's asynchronous mode with prepared statements.

For the two hot paths alone. No thread is switched to, and several statements travel in one trip: psycopg2 sends what it
is given as one simple query, and PostgreSQL runs it statement by statement, each with a fresh snapshot, stopping at the
first that fails. The answer to a trip is the result of its last statement.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg2
import psycopg2.extras
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE
from psycopg2.extensions import connection as AsyncConnection  # noqa: N812 - it is a class, spelled small by its library
from sqlalchemy.engine import URL

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.database import ATTEMPTS, BACKOFF_SECONDS, CONNECT_SECONDS, connect_arguments
from ticketing.chassis.failures import Failure, dependency_unavailable, overloaded

log = logging.getLogger(__name__)
T = TypeVar("T")

# 40001 and 40P01 lost a race; 23505 lost one for a key that another process took between our look and our insert:
# the next look sees it.
LOST_RACE: Final = frozenset({"40001", "40P01", "23505"})
# Longer than PostgreSQL's own statement_timeout: this one is for a server that does not answer at all.
TRIP_SECONDS: Final = 15.0

# A plan made while a table was small, and kept, would read all of it later: 18 ms for 16 of 50,000 rows instead of 0.2.
# And planning anew for every batch takes 3 ms.
PLANNER: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Compiling takes longer than any of these statements, and a plan that had to read a whole table would look dear enough for it.
    "jit": "off",
}
# A plan lasts for so long. One that was made while a table was nearly empty took whichever index came first, and was kept
# until the next ANALYZE: a tenth of the work in a second. Making all of them anew takes some 5 ms.
PLAN_SECONDS: Final = 1.0

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # the stubs leave it untyped


class LoopConnection:
    """A connection that opens when first used, and again after it broke.

    Args:
        url: where the database is.
        application_name: what PostgreSQL calls us.
        statements: by name, each as `(parameter types) AS statement`, prepared on every new connection. They are to
            look up a few rows by their keys, for they are planned for that alone.
    """

    def __init__(self, url: URL, application_name: str, statements: Mapping[str, str]) -> None:
        arguments = url.translate_connect_args(username="user", database="dbname") | url.query
        self._arguments: dict[str, Any] = {**arguments, **connect_arguments(application_name)}
        commands = [f"SET {name} = {value}" for name, value in PLANNER.items()]
        self._prepare = "; ".join([*commands, *(f"PREPARE {name} {text}" for name, text in statements.items())])
        self._connection: AsyncConnection | None = None
        self._answered: asyncio.Future[None] | None = None
        self._descriptor = -1
        self._plans_until = 0.0

    async def transact(self, work: Callable[["LoopConnection"], Awaitable[T]]) -> T:
        """Run `work`, which sends BEGIN with its first trip and COMMIT with its last, until it is through.

        `work` is run again after a lost race and, once, after a lost connection, when nobody knows whether its COMMIT
        arrived: it must recognise what it has already done.

        Raises:
            Failure: OVERLOADED after too many lost races, DEPENDENCY_UNAVAILABLE where PostgreSQL does not answer.
        """
        lost_connection = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._open()
                await self._plan()
                return await work(self)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError) as error:
                state = getattr(error, "pgcode", None)
                if state not in LOST_RACE:
                    self.close()
                    # A statement that PostgreSQL itself cancelled (57014, 55P03 …) was not answered in time either.
                    if lost_connection or state is not None:
                        log.warning("the database did not answer", extra={"error": str(error)})
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
                # Cancelled, or a fault of ours, between two trips: what PostgreSQL still does is unknown.
                self.close()
                raise
            await asyncio.sleep(backoff_seconds(attempt, first=BACKOFF_SECONDS, longest=1))
        raise overloaded("changes to the same rows")

    async def round_trip(self, statements: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Send `statements` in one go and return the rows of the last one."""
        connection = self._connection
        if connection is None:
            raise psycopg2.InterfaceError("the connection is closed")
        cursor = connection.cursor()
        cursor.execute(statements, arguments)
        await self._answer(connection)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back by PostgreSQL."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        loop.remove_writer(self._descriptor)
        connection.close()

    async def _open(self) -> None:
        if self._connection is not None:
            return
        # Names are looked up in a thread by libpq's rules only in blocking mode; an address answers at once.
        connection = psycopg2.connect(**self._arguments, async_=True)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connect(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._descriptor = connection.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._poll)
        if self._prepare:
            await self.round_trip(self._prepare)

    async def _plan(self) -> None:
        """Let PostgreSQL plan anew, by what the tables have become."""
        now = asyncio.get_running_loop().time()
        if self._prepare and now >= self._plans_until:
            await self.round_trip("DISCARD PLANS")
            self._plans_until = now + PLAN_SECONDS

    @staticmethod
    async def _connect(connection: AsyncConnection) -> None:
        """Go through the handshake; the socket may change on the way (several addresses)."""
        loop = asyncio.get_running_loop()
        while (state := connection.poll()) != POLL_OK:
            ready = loop.create_future()
            descriptor = connection.fileno()
            watch = loop.add_reader if state == POLL_READ else loop.add_writer
            unwatch = loop.remove_reader if state == POLL_READ else loop.remove_writer
            watch(descriptor, _settle, ready)
            try:
                await ready
            finally:
                unwatch(descriptor)

    async def _answer(self, connection: AsyncConnection) -> None:
        """Wait until the answer to what was sent is there."""
        loop = asyncio.get_running_loop()
        self._answered = loop.create_future()
        timer = loop.call_later(TRIP_SECONDS, self._give_up)
        try:
            state = connection.poll()
            if state == POLL_OK:
                # PostgreSQL was quicker than we came to ask: nothing more will make the socket ready.
                return
            if state == POLL_WRITE:
                # More than the socket takes at once: go on as it drains.
                loop.add_writer(self._descriptor, self._poll)
            await self._answered
        finally:
            timer.cancel()
            self._answered = None

    def _give_up(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(TimeoutError("no answer from PostgreSQL"))

    def _poll(self) -> None:
        """Take what has arrived; called by the loop whenever the socket is ready."""
        connection, answered = self._connection, self._answered
        if connection is None:
            return
        if answered is None or answered.done():
            # Nothing was asked, so it is the server that goes away; the next use opens a new connection.
            self.close()
            return
        try:
            state = connection.poll()
        except psycopg2.Error as error:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            answered.set_exception(error)
            return
        if state != POLL_WRITE:
            asyncio.get_running_loop().remove_writer(self._descriptor)
        if state == POLL_OK:
            answered.set_result(None)

    async def _rollback(self) -> None:
        if self._connection is None:
            return
        try:
            await self.round_trip("ROLLBACK")
        except (psycopg2.Error, TimeoutError):
            self.close()


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
