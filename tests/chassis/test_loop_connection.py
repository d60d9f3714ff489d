import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.engine import URL

from tests.environment.databases import execute
from ticketing.chassis import loop_connection as module
from ticketing.chassis.connections import database_url
from ticketing.chassis.database import ATTEMPTS
from ticketing.chassis.failures import DEPENDENCY_UNAVAILABLE, OVERLOADED, Failure
from ticketing.chassis.loop_connection import LoopConnection

STATEMENTS = {
    "increment": "(text) AS UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value",
    "add": "(text) AS INSERT INTO counters VALUES ($1, 0)",
    "values": "AS SELECT value FROM counters ORDER BY name",
}
INCREMENT = "BEGIN; EXECUTE increment(%s)"


@pytest.fixture
async def connection(url: URL) -> AsyncIterator[LoopConnection]:
    connection = LoopConnection(url, "tests", STATEMENTS)
    yield connection
    connection.close()


async def increment(connection: LoopConnection, name: str = "a") -> int:
    rows = await connection.round_trip(INCREMENT, (name,))
    await connection.round_trip("COMMIT")
    value: int = rows[0][0]
    return value


async def values(connection: LoopConnection) -> list[int]:
    return [value for (value,) in await connection.round_trip("EXECUTE values")]


def terminate_connections(url: URL) -> None:
    """Terminate every connection to the database on the server."""
    statement = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'"
    execute(url.set(database="postgres"), statement)


class TakenOver(LoopConnection):
    """A connection whose descriptor another socket gets as soon as libpq has closed it."""

    def __init__(self, url: URL) -> None:
        super().__init__(url, "tests", STATEMENTS)
        self.near, self.far = socket.socketpair()
        self.readable = asyncio.Event()
        self.taken = -1

    def _poll(self) -> None:
        descriptor = self._descriptor
        super()._poll()
        if self.taken < 0 and self._is_free(descriptor):
            self.taken = os.dup2(self.near.fileno(), descriptor)
            asyncio.get_running_loop().add_reader(self.taken, self.readable.set)

    @staticmethod
    def _is_free(descriptor: int) -> bool:
        try:
            os.fstat(descriptor)
        except OSError:
            return True
        return False


async def test_a_broken_connection_leaves_its_descriptor_to_the_next_one(url: URL) -> None:
    connection = TakenOver(url)

    async def break_off(connection: LoopConnection) -> None:
        await connection.round_trip("SELECT pg_terminate_backend(pg_backend_pid())")

    with closing(connection.near), closing(connection.far):
        with pytest.raises(Failure, match="database"):
            await connection.transact(break_off)
        connection.far.send(b"x")
        await asyncio.wait_for(connection.readable.wait(), 20)
        asyncio.get_running_loop().remove_reader(connection.taken)
        os.close(connection.taken)


async def test_work_is_committed_when_transact_returns(connection: LoopConnection) -> None:
    assert await connection.transact(increment) == 1
    assert await connection.transact(increment) == 2
    assert await connection.transact(values) == [2, 0]


async def test_a_round_trip_stops_at_the_first_failed_statement(connection: LoopConnection) -> None:
    async def work(connection: LoopConnection) -> None:
        await connection.round_trip("BEGIN; EXECUTE increment('a'); SELECT 1/0; EXECUTE increment('b'); COMMIT")

    with pytest.raises(psycopg2.errors.DivisionByZero):
        await connection.transact(work)
    assert await connection.transact(values) == [0, 0]


async def test_a_statement_larger_than_the_socket_buffer_is_sent(connection: LoopConnection) -> None:
    long = "é" * 5_000_000

    async def work(connection: LoopConnection) -> str:
        rows = await connection.round_trip("SELECT %s", (long,))
        text: str = rows[0][0]
        return text

    assert await connection.transact(work) == long


async def test_a_refusal_rolls_back(connection: LoopConnection) -> None:
    async def work(connection: LoopConnection) -> None:
        await connection.round_trip(INCREMENT, ("a",))
        raise Failure("SOLD_OUT", "none left")

    with pytest.raises(Failure, match="none left"):
        await connection.transact(work)
    assert await connection.transact(values) == [0, 0]


async def test_the_second_run_sees_a_key_inserted_meanwhile(connection: LoopConnection, url: URL) -> None:
    runs = []

    async def take(connection: LoopConnection) -> str:
        runs.append(1)
        if len(runs) > 1:
            return "seen"
        execute(url, "INSERT INTO counters VALUES ('c', 0)")
        await connection.round_trip("BEGIN; EXECUTE add('c'); COMMIT")
        return "taken"

    assert await connection.transact(take) == "seen"


async def test_an_integrity_error_without_a_race_is_raised(connection: LoopConnection) -> None:
    async def work(connection: LoopConnection) -> None:
        await connection.round_trip("BEGIN; INSERT INTO counters VALUES ('x', NULL); COMMIT")

    with pytest.raises(psycopg2.errors.NotNullViolation):
        await connection.transact(work)
    assert await connection.transact(increment) == 1


async def test_work_that_loses_every_race_is_overloaded(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0)
    runs = []

    async def lose(connection: LoopConnection) -> None:
        runs.append(1)
        await connection.round_trip("BEGIN; DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40P01'; END $$")

    with pytest.raises(Failure) as caught:
        await connection.transact(lose)
    assert caught.value.reason == OVERLOADED
    assert len(runs) == ATTEMPTS


async def test_a_connection_lost_while_idle_is_reopened(connection: LoopConnection, url: URL) -> None:
    assert await connection.transact(increment) == 1
    terminate_connections(url)
    assert await connection.transact(increment) == 2


async def test_work_runs_again_once_after_a_lost_connection(connection: LoopConnection, url: URL) -> None:
    runs = []

    async def lose_first(connection: LoopConnection) -> int:
        runs.append(1)
        rows = await connection.round_trip(INCREMENT, ("a",))
        if len(runs) == 1:
            terminate_connections(url)
        await connection.round_trip("COMMIT")
        value: int = rows[0][0]
        return value

    assert await connection.transact(lose_first) == 1
    assert len(runs) == 2


async def test_a_connection_lost_twice_is_unavailable(connection: LoopConnection, url: URL) -> None:
    async def lose(connection: LoopConnection) -> None:
        await connection.round_trip(INCREMENT, ("a",))
        terminate_connections(url)
        await connection.round_trip("COMMIT")

    with pytest.raises(Failure) as caught:
        await connection.transact(lose)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    assert await connection.transact(values) == [0, 0]


async def test_an_unreachable_server_is_unavailable() -> None:
    unreachable = LoopConnection(database_url("postgresql://u:p@127.0.0.1:1/none"), "tests", STATEMENTS)
    with pytest.raises(Failure) as caught:
        await unreachable.transact(values)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE


async def test_a_connect_without_an_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        connection = LoopConnection(database_url(f"postgresql://u:p@127.0.0.1:{port}/none"), "tests", STATEMENTS)
        with pytest.raises(Failure) as caught:
            await connection.transact(values)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE


async def test_a_round_trip_without_an_answer_times_out(
    connection: LoopConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connection.transact(values)
    monkeypatch.setattr(module, "ROUND_TRIP_SECONDS", 0.05)

    async def wait(connection: LoopConnection) -> None:
        await connection.round_trip("SELECT pg_sleep(60)")

    with pytest.raises(Failure) as caught:
        await connection.transact(wait)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE


async def test_a_statement_timeout_is_unavailable(connection: LoopConnection) -> None:
    async def wait(connection: LoopConnection) -> None:
        await connection.round_trip("BEGIN; SET LOCAL statement_timeout = 20; SELECT pg_sleep(60)")

    with pytest.raises(Failure) as caught:
        await connection.transact(wait)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    assert await connection.transact(increment) == 1


async def test_cancelled_work_leaves_no_open_transaction(connection: LoopConnection) -> None:
    begun = asyncio.Event()

    async def hang(connection: LoopConnection) -> None:
        await connection.round_trip(INCREMENT, ("a",))
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(connection.transact(hang))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.transact(increment) == 1


async def test_a_round_trip_needs_a_connection(connection: LoopConnection) -> None:
    with pytest.raises(psycopg2.InterfaceError, match="closed"):
        await connection.round_trip("SELECT 1")


async def test_the_planner_settings_are_applied(connection: LoopConnection) -> None:
    async def shown(connection: LoopConnection) -> dict[str, str]:
        return {name: (await connection.round_trip(f"SHOW {name}"))[0][0] for name in module.PLANNER_SETTINGS}

    assert await connection.transact(shown) == module.PLANNER_SETTINGS


async def test_plans_follow_the_growth_of_tables(
    connection: LoopConnection, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def expected_rows() -> int:
        lines = await connection.transact(lambda connection: connection.round_trip("EXPLAIN EXECUTE values"))
        # Each step of the plan contains "rows=2".
        words = " ".join(line for (line,) in lines).split()
        return max(int(word.removeprefix("rows=")) for word in words if word.startswith("rows="))

    monkeypatch.setattr(module, "PLAN_SECONDS", 3_600)
    few = await expected_rows()
    execute(url, "INSERT INTO counters SELECT 'c' || n, 0 FROM generate_series(1, 50000) n")
    assert await expected_rows() == few
    monkeypatch.setattr(connection, "_plans_until", 0.0)
    assert await expected_rows() > few
