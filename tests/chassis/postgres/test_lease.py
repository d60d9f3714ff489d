import fcntl
import logging
import os
import re
import signal
import stat
import subprocess
import threading
from pathlib import Path

import psycopg2
import pytest

from tests.chassis.postgres.site import take_lock
from tests.environment.waiting import eventually
from ticketing.chassis.postgres import EmbeddedPostgresError, Lease, lease, locks

pytestmark = pytest.mark.slow


def test_a_new_directory_gets_a_server_with_the_database(empty_site):
    with empty_site.lease() as server:
        url = server.url("things")
        assert re.fullmatch(r"postgresql\+psycopg2://postgres:[0-9a-f]{64}@127\.0\.0\.1:\d+/things", url)
        assert empty_site.query(url, "SELECT current_database()") == [("things",)]
    assert empty_site.is_idle()


def test_the_server_is_durable_and_listens_on_loopback_only(site):
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    with site.lease() as server:
        url = server.url("things")
        assert {name: site.query(url, f"SHOW {name}")[0][0] for name in expected} == expected


def test_a_wrong_password_is_refused(site):
    with site.lease() as server:
        url = re.sub(r":[0-9a-f]{64}@", ":guess@", server.url("things"))
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            site.query(url, "SELECT 1")


def test_no_file_is_open_to_group_or_others(empty_site):
    with empty_site.lease() as server:
        server.url("things")
        made = [empty_site.data_dir, *empty_site.data_dir.rglob("*")]
        open_ones = [path for path in made if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert len(made) > 100
    assert open_ones == []


def test_permissions_of_parent_directories_stay_unchanged(empty_site):
    parents = list(empty_site.data_dir.absolute().parents)
    before = [parent.stat().st_mode for parent in parents]
    with empty_site.lease():
        assert [parent.stat().st_mode for parent in parents] == before


def test_rows_survive_the_last_lease(site):
    with site.lease() as server:
        site.query(server.url("things"), "CREATE TABLE kept AS SELECT 42 AS answer")
    assert site.is_idle()
    with site.lease() as server:
        assert site.query(server.url("things"), "SELECT answer FROM kept") == [(42,)]


def test_the_server_runs_while_another_lease_exists(site):
    with site.lease() as first:
        second = site.lease().acquire()
        url = second.url("things")
        assert first.url("things") == url
        with site.connected(url) as connection, connection.cursor() as cursor:
            second.release()
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]


def test_concurrent_starts_share_one_server(empty_site):
    processes = [empty_site.start_process() for _ in range(4)]
    urls = {process.url() for process in processes}
    assert len(urls) == 1
    assert urls.pop().startswith("postgresql+psycopg2://")
    empty_site.keeper_pid()
    assert [process.release() for process in processes] == [0, 0, 0, 0]
    assert empty_site.is_idle()


def test_concurrent_creations_of_databases_succeed(site):
    with site.lease() as server:
        gate = threading.Barrier(6)
        failures = []

        def create(name):
            gate.wait()
            try:
                server.url(name)
            except EmbeddedPostgresError as error:
                failures.append(error)

        threads = [threading.Thread(target=create, args=(f"made{number % 2}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_the_server_stops_when_the_last_service_is_killed(site):
    process = site.start_process()
    process.url()
    process.kill()
    site.wait_until_idle()
    assert not site.layout.port_file.exists()


def test_a_child_of_a_killed_service_does_not_keep_the_server(site):
    process = site.start_process("--child")
    process.url()
    process.kill()
    site.wait_until_idle()
    assert process.process.stdout.read(0) == ""


def test_ctrl_c_reaches_services_and_not_the_database(site):
    interrupted = site.start_process(new_session=True)
    url = interrupted.url()
    other = site.start_process(new_session=True)
    assert other.url() == url
    with site.connected(url) as connection, connection.cursor() as cursor:
        os.killpg(interrupted.process.pid, signal.SIGINT)
        assert interrupted.process.wait(20) == 130
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


def test_a_start_while_the_server_is_stopping_gets_a_server(site):
    # The moments are spread over the keeper's check of the lease and the stop of the server.
    for moment in range(6):
        process = site.start_process()
        assert "@127.0.0.1:" in process.url()
        process.kill()
        threading.Event().wait(moment * 0.03)
        with site.lease() as server:
            assert site.query(server.url("things"), "SELECT 1") == [(1,)]


def test_a_killed_keeper_is_replaced_on_the_same_port(site, caplog):
    with site.lease() as server, caplog.at_level(logging.WARNING):
        url = server.url("things")
        os.kill(site.keeper_pid(), signal.SIGKILL)
        eventually(lambda: "was restarted on port" in caplog.text)
        assert server.url("things") == url


def test_a_failed_restart_is_retried_until_it_succeeds(site, caplog):
    with site.lease() as server, caplog.at_level(logging.WARNING):
        url = server.url("things")
        version = site.layout.data / "PG_VERSION"
        aside = version.rename(site.layout.root / "aside")
        os.kill(site.keeper_pid(), signal.SIGKILL)
        eventually(lambda: caplog.text.count("cannot be restarted: PostgreSQL did not start") > 1)
        aside.rename(version)
        eventually(lambda: "was restarted on port" in caplog.text)
        assert server.url("things") == url


def test_a_change_of_the_port_is_logged(site, caplog):
    with site.lease() as server, caplog.at_level(logging.WARNING):
        server.url("things")
        keeper = site.keeper_pid()
        site.layout.record_port(int(site.layout.port_file.read_text()) - 1)
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: "lost its port" in caplog.text)


@pytest.mark.parametrize("name", ["with space and 'quotes'", "x" * 150, "-dash"])
def test_the_directory_may_have_an_unusual_name(empty_site, name):
    empty_site.data_dir = empty_site.data_dir / name
    with empty_site.lease() as server:
        assert site_answers(empty_site, server)


def test_the_directory_may_be_relative(site, monkeypatch):
    monkeypatch.chdir(site.data_dir.parent)
    with Lease(Path("data")) as server:
        assert site_answers(site, server)


def site_answers(site, server):
    return site.query(server.url("things"), "SELECT 1") == [(1,)]


def test_variables_of_other_servers_are_ignored(empty_site, monkeypatch):
    for name, value in {
        "PGDATA": "/nonexistent",
        "PGPORT": "1",
        "PGSSLMODE": "verify-full",
        "PGDATABASE": "nonexistent",
        "LC_ALL": "xx_YY",
        "LANG": "de_DE",
    }.items():
        monkeypatch.setenv(name, value)
    with empty_site.lease() as server:
        url = server.url("things")
        monkeypatch.delenv("PGSSLMODE")
        assert empty_site.query(url, "SELECT 1") == [(1,)]


def test_a_lease_cannot_be_acquired_twice(site):
    with site.lease() as server, pytest.raises(RuntimeError, match="already acquired"):
        server.acquire()


def test_a_released_lease_has_no_url_and_can_be_acquired_again(site):
    server = site.lease()
    server.acquire()
    server.release()
    server.release()
    with pytest.raises(RuntimeError, match="not acquired"):
        server.url("things")
    with server:
        assert site_answers(site, server)


def test_a_keeper_that_crashes_points_to_the_log(site, monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=r"failed; see .*server\.log"):
        site.lease().acquire()


def test_a_data_directory_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"cannot use the data directory .*file/data: .*Not a directory"):
        Lease(tmp_path / "file" / "data").acquire()


def test_a_server_that_never_answers_is_a_clear_error(site, monkeypatch):
    monkeypatch.setattr(lease, "_SERVER_SECONDS", 0.5)
    # A keeper that does nothing, and a port on which no server listens.
    keeper = take_lock(site.layout.server_lock, locks.EXCLUSIVE)
    site.layout.record_port(1)
    with pytest.raises(EmbeddedPostgresError, match=r"could not be reached for 0\.5 s: .*refused"):
        site.lease().acquire()
    os.close(keeper)
    lock = take_lock(site.layout.lease_lock, locks.EXCLUSIVE)
    assert lock is not None, "the failed lease was not released"
    os.close(lock)


def test_a_server_that_never_stops_is_a_clear_error(site, monkeypatch):
    monkeypatch.setattr(lease, "_LEASE_SECONDS", 0.1)
    stopping = take_lock(site.layout.lease_lock, locks.EXCLUSIVE)
    with pytest.raises(EmbeddedPostgresError, match="has been stopping"):
        site.lease().acquire()
    os.close(stopping)


def test_a_child_process_inherits_no_descriptor_of_a_lease(site):
    with site.lease():
        assert "lease.lock" not in files_of_a_child()
        # An inheritable descriptor is listed, so the assertion above can fail.
        with site.layout.lease_lock.open() as file:
            fcntl.fcntl(file, fcntl.F_SETFD, 0)
            assert "lease.lock" in files_of_a_child()


def files_of_a_child():
    """Return the open files of a child process that inherits every inheritable descriptor."""
    command = ["/bin/sh", "-c", "ls -l /proc/self/fd"]
    return subprocess.run(command, capture_output=True, text=True, check=True, close_fds=False).stdout
