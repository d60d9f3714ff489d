import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.chassis.postgres.site import take_lock
from tests.environment.waiting import eventually
from ticketing.chassis.postgres import EmbeddedPostgresError, keeper, locks

pytestmark = pytest.mark.slow


def run_keeper(site):
    return subprocess.Popen(
        [sys.executable, "-m", "ticketing.chassis.postgres.keeper", site.layout.root, "--no-sync"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def take_lease(site):
    return take_lock(site.layout.lease_lock, locks.SHARED)


def test_a_keeper_ends_with_the_last_lease_and_removes_the_port(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        site.wait_until_ready()
        assert site.layout.read_port() is not None
        os.close(lease)
        assert process.wait(20) == 0
        assert process.stdout.read() == b""
    assert site.layout.read_port() is None


def test_a_second_keeper_ends_at_once(site):
    other = take_lock(site.layout.server_lock, locks.EXCLUSIVE)
    with run_keeper(site) as process:
        assert process.wait(20) == 0
        assert process.stdout.read() == b""
    os.close(other)
    assert site.layout.read_port() is None


def test_a_keeper_whose_starter_has_ended_continues(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        process.stdout.close()
        site.wait_until_ready()
        os.close(lease)
        assert process.wait(20) == 0


def test_a_terminated_keeper_stops_its_server_and_keeps_the_port(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        site.wait_until_ready()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    os.close(lease)
    assert b"database system is shut down" in site.layout.log.read_bytes()
    assert site.layout.read_port() is not None


def test_a_keeper_ends_with_its_killed_server(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        site.wait_until_ready()
        os.kill(site.postmaster_pid(), signal.SIGKILL)
        assert process.wait(20) == 0
    os.close(lease)
    assert site.layout.read_port() is not None


def test_no_lease_can_be_taken_while_the_server_is_stopping(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        site.wait_until_ready()
        postmaster = site.postmaster_pid()
        os.kill(postmaster, signal.SIGSTOP)
        os.close(lease)
        try:
            eventually(lambda: locks.is_exclusive(site.layout.lease_lock))
        finally:
            os.kill(postmaster, signal.SIGCONT)
        assert process.wait(20) == 0


def test_a_server_that_outlives_its_keeper_keeps_the_lock(site):
    lease = take_lease(site)
    with run_keeper(site) as process:
        site.wait_until_ready()
        postmaster = site.postmaster_pid()
        os.kill(postmaster, signal.SIGSTOP)
        process.kill()
        process.wait(20)
        try:
            assert locks.is_exclusive(site.layout.server_lock)
        finally:
            os.kill(postmaster, signal.SIGCONT)
    eventually(lambda: not locks.is_exclusive(site.layout.server_lock))
    os.close(lease)


def test_a_server_that_never_gets_ready_is_still_stopped(site, program):
    lease = take_lease(site)
    with site.layout.log.open("ab") as log:
        thread = threading.Thread(target=keeper.keep, args=(site.layout, program("echo $$ > pid; exec sleep 600"), log))
        thread.start()
        eventually(lambda: (site.layout.cluster / "pid").exists() and (site.layout.cluster / "pid").read_text())
        os.close(lease)
        thread.join()
    assert not Path(f"/proc/{int((site.layout.cluster / 'pid').read_text())}").exists()


def test_the_search_for_a_free_port_ends(site, program):
    lease = take_lease(site)
    with site.layout.log.open("ab") as log, pytest.raises(EmbeddedPostgresError, match="found no free port"):
        keeper.keep(site.layout, program("echo . >> tries; echo 'Address already in use'; exit 1"), log)
    os.close(lease)
    assert (site.layout.cluster / "tries").read_text().count(".") == 10


def test_ports_are_not_those_of_outgoing_connections(site):
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with site.lease():
        assert 1024 < site.layout.read_port() < first_outgoing


@pytest.mark.parametrize("copied", [True, False])
def test_the_size_of_the_log_is_bounded(site, copied):
    old = site.layout.log.with_suffix(".old")
    if not copied:
        old.mkdir()
    with site.lease() as lease:
        with site.layout.log.open("ab") as log:
            log.write(b"x" * 5_000_000)
        eventually(lambda: site.layout.log.stat().st_size < 1_000_000)
        assert site.query(lease.url("things"), "SELECT 1") == [(1,)]
    if copied:
        assert old.stat().st_size >= 5_000_000
        assert old.stat().st_mode & 0o077 == 0
