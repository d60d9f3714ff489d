from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.environment.waiting import eventually
from ticketing.chassis.postgres import EmbeddedPostgresError, database

pytestmark = pytest.mark.slow


def test_a_refused_connection_is_not_reachable():
    with pytest.raises(database.NotReachableError, match="refused"):
        database.ensure(1, "password", "things")


def test_a_terminated_session_is_retried(site):
    with site.lease() as server:
        url = server.url("postgres")
        with site.connected(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({database._ADVISORY_LOCK})")  # noqa: SLF001 - to block the creation
            with ThreadPoolExecutor(1) as pool:
                made = pool.submit(server.url, "things")
                end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'"
                eventually(lambda: site.query(url, end))
                cursor.execute("SELECT pg_advisory_unlock_all()")
                assert site.query(made.result(20), "SELECT current_database()") == [("things",)]


def test_an_error_of_the_server_is_reported(site, monkeypatch):
    monkeypatch.setattr(database, "_STATEMENT_LIMIT", "100ms")
    with site.lease() as server:
        url = server.url("postgres")
        with site.connected(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({database._ADVISORY_LOCK})")  # noqa: SLF001 - to block the creation
            with pytest.raises(EmbeddedPostgresError, match=r"cannot create the database things: .*statement timeout"):
                server.url("things")
