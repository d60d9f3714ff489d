import os
import signal
import threading

import pytest

from tests.chassis.postgres.site import take_lock
from ticketing.chassis.postgres import EmbeddedPostgresError, keeper_start, locks
from ticketing.chassis.postgres.keeper_start import start_keeper

pytestmark = pytest.mark.slow


def test_a_keeper_that_fails_without_a_word_points_to_the_log(site, monkeypatch, tmp_path):
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=r"failed; see .*server\.log"):
        start_keeper(site.layout, fsync_initdb=False)


def test_a_keeper_that_is_killed_before_its_report_is_no_error(site):
    # The server of an earlier keeper, which the new one waits for.
    server = take_lock(site.layout.server_lock, locks.Mode.EXCLUSIVE)
    failures = []

    def start():
        try:
            start_keeper(site.layout, fsync_initdb=False)
        except EmbeddedPostgresError as error:
            failures.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    os.kill(site.keeper_pid(), signal.SIGKILL)
    starter.join(20)
    os.close(server)
    assert not starter.is_alive()
    assert failures == []


def test_a_keeper_that_does_not_report_is_a_clear_error(site, monkeypatch):
    monkeypatch.setattr(keeper_start, "_REPORT_SECONDS", 0.1)
    server = take_lock(site.layout.server_lock, locks.Mode.EXCLUSIVE)
    with pytest.raises(EmbeddedPostgresError, match="did not report"):
        start_keeper(site.layout, fsync_initdb=False)
    os.close(server)


def test_what_the_keeper_says_on_standard_error_is_no_report(site, monkeypatch):
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    lease = take_lock(site.layout.lease_lock, locks.Mode.SHARED)
    start_keeper(site.layout, fsync_initdb=False)
    assert site.layout.read_port() is not None
    os.close(lease)
