import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.environment.waiting import eventually
from ticketing.chassis.postgres import Lease, server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fsync_initdb", [True, False])
def test_a_new_cluster_is_forced_to_disk_by_default(empty_site, fsync_initdb):
    seen: set[str] = set()
    lease = Lease(empty_site.data_dir, fsync_initdb)
    starter = threading.Thread(target=lease.acquire)
    starter.start()

    def look() -> bool:
        seen.update(initdb_options(empty_site))
        return bool(seen)

    eventually(look)
    starter.join()
    lease.release()
    assert ("--no-sync" in seen) is not fsync_initdb


def initdb_options(site):
    """Return the options of the initdb process of this site."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = entry.read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"--pgdata={site.layout.staging}/data" in arguments and arguments[0].endswith("initdb"):
            return arguments
    return []


def test_a_hanging_initdb_is_killed(empty_site, program, monkeypatch):
    monkeypatch.setattr(server, "_INITDB_SECONDS", 1)
    empty_site.layout.root.mkdir(parents=True)
    with pytest.raises(subprocess.TimeoutExpired, match="initdb"):
        server.create_cluster(empty_site.layout, program("echo $$ > pid; exec sleep 600"), sync=False)
    pid = int((empty_site.layout.staging / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_full_disk_is_named_in_the_error(empty_site):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can mount a small disk")
    empty_site.data_dir.mkdir()
    mount = 'mount -t tmpfs -o size=16m small "$0" && exec "$@"'
    small_disk = ("unshare", "--mount", "--propagation=private", "sh", "-c", mount, empty_site.data_dir)
    if subprocess.run([*small_disk, "true"], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    empty_site.command = (*small_disk, sys.executable)
    message = empty_site.start_process().error()
    assert "initdb failed" in message
    assert "free some space" in message


def test_leftovers_of_a_failed_attempt_are_removed(empty_site):
    empty_site.layout.staging.mkdir(parents=True)
    (empty_site.layout.staging / "rest").touch()
    with empty_site.lease():
        assert not empty_site.layout.staging.exists()


def test_a_recorded_port_in_use_is_replaced(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.layout.record_port(port)
        with site.lease() as lease:
            url = lease.url("things")
            assert site.query(url, "SELECT 1") == [(1,)]
            assert f":{port}/" not in url


def test_a_server_that_ignores_every_request_is_killed(monkeypatch):
    monkeypatch.setattr(server, "_STOP_SECONDS", 0.2)
    deaf = "import signal, sys; [signal.signal(number, signal.SIG_IGN) for number in (2, 3)]; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.stop(process)
        assert process.returncode == -9


def test_a_server_that_cannot_start_reports_the_cause(site):
    (site.layout.data / "global" / "pg_control").unlink()
    message = site.start_process().error()
    assert "PostgreSQL did not start" in message
    assert "pg_control" in message
