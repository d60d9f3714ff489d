from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.environment.waiting import eventually
from ticketing.chassis.postgres import EmbeddedPostgresError, database

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a-b", 'a"b', "a\0b", "x" * 64, "ä"])
def test_a_name_that_would_need_quotes_is_refused(site, name):
    with site.lease() as server, pytest.raises(ValueError, match="not a plain database name"):
        server.url(name)


def test_the_longest_name_works(site):
    with site.lease() as server:
        assert site.query(server.url("x" * 63), "SELECT current_database()") == [("x" * 63,)]


def test_a_port_where_nobody_listens_is_not_reachable():
    with pytest.raises(database.NotReachableError, match="refused"):
        database.ensure(1, "password", "things")


def test_a_session_that_an_operator_ends_is_tried_again(site):
    with site.lease() as server:
        url = server.url("postgres")
        with site.connected(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({database._ADVISORY_LOCK})")  # noqa: SLF001  to be in the way
            with ThreadPoolExecutor(1) as pool:
                made = pool.submit(server.url, "things")
                end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'"
                eventually(lambda: site.query(url, end))
                cursor.execute("SELECT pg_advisory_unlock_all()")
                assert site.query(made.result(20), "SELECT current_database()") == [("things",)]


def test_what_the_server_refuses_is_a_clear_error(site, monkeypatch):
    monkeypatch.setattr(database, "_STATEMENT_LIMIT", "100ms")
    with site.lease() as server:
        url = server.url("postgres")
        with site.connected(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_lock({database._ADVISORY_LOCK})")  # noqa: SLF001  to be in the way
            with pytest.raises(EmbeddedPostgresError, match=r"cannot create the database things: .*statement timeout"):
                server.url("things")
