import os
import signal
import subprocess
import sys

import pytest

from tests.chassis.postgres.site import take_lock
from tests.environment.waiting import eventually
from ticketing.chassis.postgres import EmbeddedPostgresError, keeper, locks
from ticketing.chassis.postgres.keeper_start import READY

pytestmark = pytest.mark.slow


def run_keeper(site):
    return subprocess.Popen(
        [sys.executable, "-m", "ticketing.chassis.postgres.keeper", site.layout.root, "--no-sync"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def hold_lease(site):
    return take_lock(site.layout.lease_lock, locks.Mode.SHARED)


def test_the_report_ends_when_the_server_is_ready_and_the_keeper_ends_with_the_last_lease(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        assert process.stdout.read() == READY.encode()
        assert site.layout.read_port() is not None
        os.close(lease)
        assert process.wait(20) == 0
    assert site.layout.read_port() is None


def test_a_second_keeper_gives_way(site):
    other = take_lock(site.layout.keeper_lock, locks.Mode.EXCLUSIVE)
    with run_keeper(site) as process:
        assert process.stdout.read() == READY.encode()
        assert process.wait(20) == 0
    os.close(other)
    assert site.layout.read_port() is None


def test_a_keeper_whose_starter_is_gone_does_its_work(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        process.stdout.close()
        eventually(lambda: site.layout.read_port() is not None)
        os.close(lease)
        assert process.wait(20) == 0


def test_a_keeper_that_is_told_to_end_stops_its_server_and_leaves_the_port_on_record(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        process.stdout.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    os.close(lease)
    assert b"database system is shut down" in site.layout.log.read_bytes()
    assert site.layout.read_port() is not None


def test_a_keeper_ends_with_its_server(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        process.stdout.read()
        os.kill(site.postmaster_pid(), signal.SIGKILL)
        assert process.wait(20) == 0
    os.close(lease)
    assert site.layout.read_port() is not None


def test_nobody_gets_in_while_the_server_is_stopping(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        process.stdout.read()
        postmaster = site.postmaster_pid()
        os.kill(postmaster, signal.SIGSTOP)
        os.close(lease)
        try:
            eventually(lambda: locks.is_held_exclusively(site.layout.lease_lock))
        finally:
            os.kill(postmaster, signal.SIGCONT)
        assert process.wait(20) == 0


def test_a_server_that_outlives_its_keeper_keeps_its_lock(site):
    lease = hold_lease(site)
    with run_keeper(site) as process:
        process.stdout.read()
        postmaster = site.postmaster_pid()
        os.kill(postmaster, signal.SIGSTOP)
        process.kill()
        process.wait(20)
        try:
            assert locks.is_held_exclusively(site.layout.server_lock)
        finally:
            os.kill(postmaster, signal.SIGCONT)
    eventually(lambda: not locks.is_held_exclusively(site.layout.server_lock))
    os.close(lease)


def test_a_server_without_a_keeper_is_waited_for_and_then_named(site, monkeypatch):
    monkeypatch.setattr(keeper, "_OLD_SERVER_SECONDS", 0.1)
    server = take_lock(site.layout.server_lock, locks.Mode.EXCLUSIVE)
    with site.layout.log.open("ab") as log, pytest.raises(EmbeddedPostgresError, match="without a keeper still works"):
        keeper.keep(site.layout, log, sync=False)
    os.close(server)


def test_the_log_does_not_grow_without_bound(site):
    with site.lease():
        with site.layout.log.open("ab") as log:
            log.write(b"x" * 5_000_000)
        eventually(lambda: site.layout.log.stat().st_size < 1_000_000)
        old = site.layout.log.with_suffix(".old")
        assert old.stat().st_size >= 5_000_000
        assert old.stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_copied_is_cut_nevertheless(site):
    site.layout.log.with_suffix(".old").mkdir()
    with site.lease() as server:
        with site.layout.log.open("ab") as log:
            log.write(b"x" * 5_000_000)
        eventually(lambda: site.layout.log.stat().st_size < 1_000_000)
        assert site.query(server.url("things"), "SELECT 1") == [(1,)]
