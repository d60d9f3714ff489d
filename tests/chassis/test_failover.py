"""Connections of a service while a primary and its replica change places."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.clusters import Pair, pair
from tests.environment.databases import execute
from tests.environment.postgres_processes import stopped
from tests.environment.waiting import until
from ticketing.chassis import database as database_module
from ticketing.chassis import loop_connection as loop_connection_module
from ticketing.chassis.database import Database
from ticketing.chassis.database_checks import UnsuitableDatabaseError, check_server
from ticketing.chassis.failures import DEPENDENCY_UNAVAILABLE, Failure
from ticketing.chassis.loop_connection import LoopConnection

pytestmark = pytest.mark.slow

__all__ = ["pair"]

THREADS = 3


@pytest.fixture
def url(pair: Pair) -> URL:
    execute(pair.primary.url(), "CREATE TABLE IF NOT EXISTS rows (n int); DELETE FROM rows")
    return pair.url()


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    database = Database(url, "tests", threads=1)
    yield database
    await database.close()


@pytest.fixture
async def pool(url: URL) -> AsyncIterator[Database]:
    database = Database(url, "tests", threads=THREADS)
    yield database
    await database.close()


@pytest.fixture
async def connection(url: URL) -> AsyncIterator[LoopConnection]:
    with closing(LoopConnection(url, "tests", {"insert": "AS INSERT INTO rows VALUES (1)"})) as connection:
        yield connection


@pytest.fixture
def read_only(pair: Pair) -> Iterator[None]:
    yield
    execute(pair.primary.url(), "ALTER SYSTEM RESET default_transaction_read_only")
    execute(pair.primary.url(), "SELECT pg_reload_conf()")


async def use_all_threads(pool: Database) -> None:
    """Run work in every thread of a pool at the same time."""
    all_threads = threading.Barrier(THREADS)
    await asyncio.gather(*(pool.run(lambda _: all_threads.wait(10)) for _ in range(THREADS)))


def insert(connection: Connection) -> None:
    connection.execute(sa.text("INSERT INTO rows VALUES (1)"))


async def insert_in_loop(connection: LoopConnection) -> None:
    await connection.round_trip("BEGIN; EXECUTE insert; COMMIT")


async def is_available(write: Awaitable[None]) -> bool:
    """Return whether a write succeeds; any other failure than an unavailable database is raised."""
    try:
        await write
    except Failure as failure:
        if failure.reason != DEPENDENCY_UNAVAILABLE:
            raise
        return False
    return True


async def writes(database: Database, connection: LoopConnection) -> bool:
    """Return whether both kinds of connection write; any other failure than an unavailable database is raised."""
    both = await asyncio.gather(database.run(insert), connection.transact(insert_in_loop), return_exceptions=True)
    failures = [result for result in both if result is not None]
    assert all(isinstance(f, Failure) and f.reason == DEPENDENCY_UNAVAILABLE and f.retry_after for f in failures)
    return not failures


def test_a_replica_is_refused_at_the_start(pair: Pair) -> None:
    with pytest.raises(UnsuitableDatabaseError, match="is a replica"):
        check_server(pair.replica.url())
    check_server(pair.url())


async def test_a_server_that_becomes_read_only_is_unavailable(
    pair: Pair, database: Database, connection: LoopConnection, read_only: None
) -> None:
    assert await writes(database, connection)
    for value in ("on", "off"):
        execute(pair.primary.url(), f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        execute(pair.primary.url(), "SELECT pg_reload_conf()")
        # Each session reads the setting at another moment.
        await until(lambda: is_available(database.run(insert)), value == "off")
        await until(lambda: is_available(connection.transact(insert_in_loop)), value == "off")


async def test_a_service_follows_the_primary_to_another_host(
    pair: Pair, database: Database, connection: LoopConnection
) -> None:
    assert await writes(database, connection)
    pair.stop_primary()
    assert not await writes(database, connection)
    pair.promote()
    await until(lambda: writes(database, connection))
    assert not await database.run(lambda c: c.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one())


# The last test: the primary that hung has other changes than the new one, and does not come back.
async def test_a_service_leaves_a_primary_that_hangs(
    pair: Pair, pool: Database, connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MAX_SECONDS", 1.0)
    monkeypatch.setattr(loop_connection_module, "ROUND_TRIP_SECONDS", 1.0)
    # The pool has an idle connection for each of its threads.
    await use_all_threads(pool)
    assert await writes(pool, connection)
    with stopped(pair.primary.url()):
        # Its kernel accepts connections and acknowledges every packet, so no timeout of TCP ends a wait.
        # Work of stopped tasks occupies two threads, and a caller that waits the third.
        for task in [asyncio.create_task(pool.run(insert)) for _ in range(THREADS - 1)]:
            await asyncio.sleep(0)
            task.cancel()
        assert not await writes(pool, connection)
        pair.take_over()
        # All threads have left the connections on which they waited, and wait on no other one of that server.
        monkeypatch.undo()
        await until(lambda: is_available(use_all_threads(pool)))
        await until(lambda: writes(pool, connection))
