"""Checks of the database server at the start, on real servers and with the real PgBouncer."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.clusters import pgbouncer
from tests.environment.databases import execute, read_value
from ticketing.chassis import database_checks
from ticketing.chassis.connections import connect, database_url, open_engine
from ticketing.chassis.database_checks import UnsuitableDatabaseError, check_server
from ticketing.chassis.loop_connection import LoopConnection

SHOW_COMMIT = "SELECT current_setting('synchronous_commit')"


@contextmanager
def altered(url: URL, setting: str) -> Iterator[None]:
    """Give the database a setting, and take it away at the end."""
    name = setting.split(maxsplit=1)[0]
    maintenance = url.set(database="postgres")
    execute(maintenance, f'ALTER DATABASE "{url.database}" SET {setting}')
    try:
        yield
    finally:
        execute(maintenance, f'ALTER DATABASE "{url.database}" RESET {name}')


def test_a_usual_server_suits(url: URL) -> None:
    check_server(url)


def test_an_old_server_is_refused(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_checks, "OLDEST_VERSION", 99)
    with pytest.raises(UnsuitableDatabaseError, match="use 99 or newer"):
        check_server(url)


def test_another_encoding_is_refused(url: URL) -> None:
    maintenance, name = url.set(database="postgres"), "latin"
    execute(maintenance, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'")
    try:
        with pytest.raises(UnsuitableDatabaseError, match="has the encoding LATIN1"):
            check_server(url.set(database=name))
    finally:
        execute(maintenance, f"DROP DATABASE {name}")


def test_a_read_only_database_is_refused(url: URL) -> None:
    with (
        altered(url, "default_transaction_read_only = on"),
        pytest.raises(UnsuitableDatabaseError, match="is a replica or read-only"),
    ):
        check_server(url)


async def test_commits_are_durable_whatever_the_database_says(url: URL) -> None:
    with altered(url, "synchronous_commit = off"):
        assert read_value(url, SHOW_COMMIT) == "off"
        with open_engine(url, "tests", poolclass=sa.NullPool).connect() as connection:
            assert connection.execute(sa.text(SHOW_COMMIT)).scalar_one() == "on"
        with closing(LoopConnection(url, "tests", {})) as in_loop:
            assert await in_loop.transact(lambda c: c.round_trip(SHOW_COMMIT)) == [("on",)]


def test_a_stronger_durability_stays(url: URL) -> None:
    with (
        altered(url, "synchronous_commit = remote_apply"),
        open_engine(url, "tests", poolclass=sa.NullPool).connect() as connection,
    ):
        assert connection.execute(sa.text(SHOW_COMMIT)).scalar_one() == "remote_apply"


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_refused(url: URL, mode: str) -> None:
    with (
        pgbouncer(url, mode) as pooled,
        pytest.raises(UnsuitableDatabaseError, match="pool_mode = session for this database"),
    ):
        check_server(pooled)


def test_a_busy_pooler_that_shares_sessions_is_refused(url: URL) -> None:
    """Other clients take the servers that the check has used, in turns."""
    stop = threading.Event()

    def work(pooled: URL) -> None:
        with closing(connect(pooled, "load")) as connection:
            connection.autocommit = True
            while not stop.is_set():
                connection.cursor().execute("SELECT 1")

    with pgbouncer(url, "transaction", server_round_robin=1) as pooled, ThreadPoolExecutor(6) as threads:
        load = [threads.submit(work, pooled) for _ in range(6)]
        try:
            with pytest.raises(UnsuitableDatabaseError, match="shares sessions"):
                check_server(pooled)
        finally:
            stop.set()
        for one in load:
            one.result()


async def test_a_pooler_of_sessions_suits(url: URL) -> None:
    with pgbouncer(url, "session") as pooled:
        # `check_server` runs an event loop of its own.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(check_server, pooled).result()
        connection = LoopConnection(pooled, "tests", {"one": "AS SELECT 1"})
        with closing(connection):
            assert await connection.transact(lambda c: c.round_trip("EXECUTE one")) == [(1,)]
            assert await connection.transact(lambda c: c.round_trip("SHOW lock_timeout")) == [("5s",)]


def test_a_pool_for_one_connection_is_refused(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_checks, "POOLER_SECONDS", 1.0)
    with (
        pgbouncer(url, "session", default_pool_size=1) as pooled,
        pytest.raises(UnsuitableDatabaseError, match="gives no second connection"),
    ):
        check_server(pooled)


def test_a_server_without_fsync_is_named_in_the_log(
    url: URL, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A setting of the whole server, which other tests share.
    monkeypatch.setattr(database_checks, "SERVER", database_checks.SERVER.replace("current_setting('fsync')", "'off'"))
    with caplog.at_level(logging.WARNING):
        check_server(url)
    assert "fsync = off" in caplog.text


def test_a_url_may_name_several_hosts(url: URL) -> None:
    text = f"postgresql://{url.username}:{url.password}@127.0.0.1:1,127.0.0.1:{url.port}/{url.database}"
    check_server(database_url(text))


async def test_the_event_loop_connects_to_the_second_host(url: URL) -> None:
    text = f"postgresql://{url.username}:{url.password}@127.0.0.1:1,127.0.0.1:{url.port}/{url.database}"
    with closing(LoopConnection(database_url(text), "tests", {})) as connection:
        assert await connection.transact(lambda c: c.round_trip("SELECT 1")) == [(1,)]
