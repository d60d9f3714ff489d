import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL, Connection

from tests.environment.databases import execute, read_value
from tests.environment.waiting import until
from ticketing.chassis import connections, health
from ticketing.chassis import database as module
from ticketing.chassis.connections import SESSION_MILLISECONDS, database_url
from ticketing.chassis.database import ATTEMPTS, Database, RowsLocked, after_commit
from ticketing.chassis.failures import DEPENDENCY_UNAVAILABLE, OVERLOADED, Failure
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.tasks import Tasks


@pytest.fixture
async def database(url: URL) -> AsyncIterator[Database]:
    database = Database(url, "tests", threads=2)
    yield database
    await database.close()


def increment(connection: Connection, name: str) -> int:
    statement = sa.text("UPDATE counters SET value = value + 1 WHERE name = :name RETURNING value")
    value: int = connection.execute(statement, {"name": name}).scalar_one()
    return value


@pytest.mark.parametrize("text", ["postgresql://u:p@h/d", "postgres+psycopg2://h/d", "postgresql+psycopg://h/d"])
def test_every_postgresql_url_gets_the_psycopg2_driver(text: str) -> None:
    if text.startswith("postgres+"):
        with pytest.raises(ValueError, match="PostgreSQL"):
            database_url(text)
    else:
        assert database_url(text).drivername == "postgresql+psycopg2"


@pytest.mark.parametrize("text", ["mysql://h/d", "not a url", "://"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        database_url(text)


async def test_work_is_committed_when_run_returns(database: Database) -> None:
    assert await database.run(lambda connection: increment(connection, "a")) == 1
    assert await database.run(lambda connection: increment(connection, "a")) == 2


async def test_a_server_that_hangs_leaves_no_caller_waiting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.2)
    answers = threading.Event()
    # Two occupy the threads, and the third waits for one of them.
    outcomes = await asyncio.gather(*(database.run(lambda _: answers.wait()) for _ in range(3)), return_exceptions=True)
    assert [isinstance(one, Failure) and one.reason for one in outcomes] == [DEPENDENCY_UNAVAILABLE] * 3
    # The threads are occupied until the server answers; the work that waited is dropped.
    assert REGISTRY.get_sample_value("database_pool_under_way", {"pool": "tests"}) == 2
    answers.set()
    monkeypatch.undo()
    assert await database.run(lambda connection: increment(connection, "a")) == 1
    await until(lambda: REGISTRY.get_sample_value("database_pool_under_way", {"pool": "tests"}), wanted=0)


async def test_work_that_raises_is_rolled_back(database: Database) -> None:
    def fail(connection: Connection) -> None:
        increment(connection, "a")
        raise Failure("SOLD_OUT", "none left")

    with pytest.raises(Failure, match="none left"):
        await database.run(fail)
    assert await database.run(lambda connection: increment(connection, "a")) == 1


async def test_work_sees_the_request_id(database: Database) -> None:
    token = REQUEST_ID.set("r-1")
    try:
        assert await database.run(lambda _: REQUEST_ID.get()) == "r-1"
    finally:
        REQUEST_ID.reset(token)


async def test_work_that_loses_a_deadlock_runs_again(database: Database) -> None:
    meeting = threading.Barrier(2)
    runs: list[str] = []

    def cross(connection: Connection, first: str, second: str) -> None:
        runs.append(first)
        increment(connection, first)
        if len(runs) <= 2:
            meeting.wait(timeout=10)
        increment(connection, second)

    await asyncio.gather(
        database.run(lambda connection: cross(connection, "a", "b")),
        database.run(lambda connection: cross(connection, "b", "a")),
    )
    assert len(runs) == 3
    assert await database.run(lambda connection: increment(connection, "a")) == 3


async def test_work_that_loses_every_race_is_overloaded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0)
    runs = []

    def lose(connection: Connection) -> None:
        runs.append(1)
        connection.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$"))

    with pytest.raises(Failure) as caught:
        await database.run(lose)
    assert caught.value.reason == OVERLOADED
    assert len(runs) == ATTEMPTS


async def test_repeatable_read_keeps_its_snapshot(database: Database) -> None:
    def read_twice(connection: Connection) -> tuple[int, int]:
        read = sa.text("SELECT value FROM counters WHERE name = 'a'")
        before = connection.execute(read).scalar_one()
        database.run_here(lambda other: increment(other, "a"))
        return before, connection.execute(read).scalar_one()

    assert await database.run(read_twice, isolation="REPEATABLE READ") == (0, 0)
    assert await database.run(read_twice) == (1, 2)


async def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    with pytest.raises(sa.exc.ProgrammingError):
        await database.run(lambda connection: connection.execute(sa.text("SELECT nonsense")))


async def test_the_text_of_an_error_contains_no_parameters(database: Database) -> None:
    """It is logged, and parameters are names, addresses and digests."""
    statement = sa.text("SELECT :secret, 1 / 0")
    with pytest.raises(sa.exc.DataError) as caught:
        await database.run(lambda connection: connection.execute(statement, {"secret": "hunter2"}))
    assert "hunter2" not in str(caught.value)


async def test_a_lost_connection_is_unavailable_and_recovers(database: Database, url: URL) -> None:
    def terminate_connections(connection: Connection) -> None:
        execute(
            url.set(database="postgres"),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'",
        )
        increment(connection, "a")

    with pytest.raises(Failure) as caught:
        await database.run(terminate_connections)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    assert caught.value.metadata == {"dependency": "database"}
    assert await database.run(lambda connection: increment(connection, "a")) == 1


async def test_an_unreachable_server_is_unavailable() -> None:
    unreachable = Database(database_url("postgresql://u:p@127.0.0.1:1/none"), "tests", threads=1)
    with pytest.raises(Failure) as caught:
        await unreachable.run(lambda connection: increment(connection, "a"))
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    await unreachable.close()


async def test_work_beyond_the_queue_is_refused(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_PER_THREAD", 1)
    database = Database(url, "tests", threads=1)
    go = threading.Event()
    waiting = [asyncio.create_task(database.run(lambda _: go.wait(10))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Failure) as caught:
        await database.run(lambda _: None)
    assert caught.value.reason == OVERLOADED
    go.set()
    assert await asyncio.gather(*waiting) == [True, True]
    await database.close()


async def test_long_reads_leave_other_work_its_connections(url: URL) -> None:
    database = Database(url, "tests", threads=1)
    go = threading.Event()
    reading = [asyncio.create_task(database.read(lambda _: go.wait(10))) for _ in range(3 * module.READ_THREADS)]
    await asyncio.sleep(0)
    assert await database.run(lambda connection: increment(connection, "a")) == 1
    go.set()
    assert all(await asyncio.gather(*reading))
    await database.close()


async def test_a_slow_read_is_ended_and_overloaded(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.READ_MILLISECONDS["statement_timeout"] < SESSION_MILLISECONDS["statement_timeout"]
    monkeypatch.setitem(module.READ_MILLISECONDS, "statement_timeout", 50)
    database = Database(url, "tests", threads=1)
    sleep = sa.text("SELECT pg_sleep(0.2)")
    with pytest.raises(Failure) as caught:
        await database.read(lambda connection: connection.execute(sleep))
    assert (caught.value.reason, caught.value.retry_after) == (OVERLOADED, module.RETRY_TOO_LONG)
    # A change has more time than a read.
    await database.run(lambda connection: connection.execute(sleep))
    await database.close()


async def test_a_locked_row_ends_the_work_at_the_limit_of_its_pool(url: URL, database: Database) -> None:
    hurried = Database(url, "hurried", threads=1, limits={"lock_timeout": 50})

    def wait_for_it(connection: Connection) -> None:
        increment(connection, "a")
        with pytest.raises(RowsLocked) as caught:
            hurried.run_here(lambda other: increment(other, "a"))
        assert caught.value.reason == OVERLOADED

    await database.run(wait_for_it)
    assert await hurried.run(lambda connection: increment(connection, "a")) == 2
    limit = sa.text("SHOW lock_timeout")
    assert await hurried.run(lambda connection: connection.execute(limit).scalar_one()) == "50ms"
    await hurried.close()


def sessions_of(url: URL) -> int:
    count: int = read_value(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'burst'")
    return count


async def test_counts_follow_the_commit_and_ignore_lost_races_and_rollbacks(database: Database) -> None:
    counted, attempts = list[str](), list[int]()

    def count(connection: Connection, name: str, error: Exception | None = None) -> None:
        attempts.append(increment(connection, "a"))
        after_commit(connection, lambda: counted.append(name))
        if len(attempts) == 1:
            connection.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$"))
        if error is not None:
            raise error

    await database.run(lambda connection: count(connection, "run again"))
    with pytest.raises(ValueError, match="refused"):
        await database.run(lambda connection: count(connection, "rolled back", ValueError("refused")))
    await database.run(lambda connection: count(connection, "next"))
    assert len(attempts) == 4
    assert counted == ["run again", "next"]


async def test_idle_connections_close_and_open_again(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MILLISECONDS", 700)
    database = Database(url, "burst", threads=4)
    assert sessions_of(url) == 0
    meeting = threading.Barrier(4)
    await asyncio.gather(*(database.run(lambda _: meeting.wait(10)) for _ in range(4)))
    await until(lambda: sessions_of(url), 0)
    assert await database.run(lambda connection: increment(connection, "a")) == 1
    # On a busy machine this one is idle for long, too.
    assert sessions_of(url) <= 1
    await database.close()


async def test_metrics_count_the_threads_the_work_and_its_wait(url: URL) -> None:
    database = Database(url, "measured", threads=1)
    go = threading.Event()

    def value(name: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"pool": "measured"})

    waiting = [asyncio.create_task(database.run(lambda _: go.wait(10))) for _ in range(3)]
    await asyncio.sleep(0)
    assert (value("database_pool_threads"), value("database_pool_under_way")) == (1, 3)
    go.set()
    await asyncio.gather(*waiting)
    assert (value("database_pool_under_way"), value("database_pool_wait_seconds_count")) == (0, 3)
    await database.close()


async def test_a_connection_rests_after_a_read(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_THREADS", 1)
    rests: list[float] = []
    database = Database(url, "tests", threads=1)
    monkeypatch.setattr(module.time, "sleep", rests.append)  # type: ignore[attr-defined]  # the module's import
    for _ in range(2):
        await database.read(lambda connection: connection.execute(sa.text("SELECT pg_sleep(0.02)")))
        await database.run(lambda connection: increment(connection, "a"))
    [rest] = rests
    assert 0 < rest <= module.MAX_REST_SECONDS
    await database.close()


def test_an_outage_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call and every task meets an outage: a line for each would fill the log."""
    now = 1_000.0
    monkeypatch.setattr(connections, "monotonic", lambda: now)
    monkeypatch.setattr(connections, "OUTAGES", connections.OutageLog())
    for _ in range(100):
        connections.OUTAGES.write("connection refused")
    now += connections.OUTAGE_LOG_SECONDS
    connections.OUTAGES.write("connection refused")
    assert [line.__dict__["unlogged"] for line in caplog.records] == [0, 99]


async def test_a_full_disk_is_logged_as_such(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers reads meanwhile, so an operator who reads of no answer looks at the network."""
    outages, now = connections.OutageLog(), 1_000.0
    monkeypatch.setattr(connections, "monotonic", lambda: now)
    monkeypatch.setattr(module, "OUTAGES", outages)
    monkeypatch.setattr(health, "OUTAGES", outages)
    report = health.Health(Tasks()).report
    assert "database_disk" not in report().warnings
    failed = REGISTRY.get_sample_value("ticketing_database_disk_full_total") or 0.0
    full = "DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
    # The second one is not logged, and counts for readiness and for the alert.
    for _ in range(2):
        with pytest.raises(Failure):
            await database.run(lambda connection: connection.execute(sa.text(full)))
        now += 3
    assert [line.message for line in caplog.records] == ["the disk of the database is full"]
    assert REGISTRY.get_sample_value("ticketing_database_disk_full_total") == failed + 2
    assert report().warnings["database_disk"] == "was full 3 s ago"
    now += health.FULL_DISK_SECONDS
    assert "database_disk" not in report().warnings
