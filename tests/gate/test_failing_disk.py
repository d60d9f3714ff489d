"""While the disk of a device is full, read-only or broken, no shown admission is lost and every thread goes on."""

import sqlite3
import threading

import pytest

from tests.environment.disk import FAULTS, SQLITE_FULL, SQLITE_IOERR_FSYNC, Disk
from tests.environment.waiting import eventually
from ticketing.admission.scans import DenialReason
from ticketing.gate import delivery
from ticketing.gate.device import CANNOT_STORE
from ticketing.gate.device_status import StatusReader
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.gate.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def disk():
    installed = Disk().install()
    yield installed
    installed.uninstall()


@pytest.fixture(params=FAULTS, ids=["full", "read-only", "write error", "sync error"])
def fault(request) -> int:
    code: int = request.param
    return code


@pytest.fixture
def ready(disk, handheld, stand_in):
    """Return a device with a complete replica, and two tickets."""
    tokens = [stand_in.ticket(), stand_in.ticket()]
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 2)
    return handheld, tokens


def test_service_admits_while_the_disk_fails(ready, disk, fault, stand_in, server):
    device, tokens = ready
    disk.fault = fault
    answer = device.scan(tokens[0])
    assert (answer.may_pass, answer.offline) == (True, False)
    assert device.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN
    disk.fault = 0
    device.scan("anything")
    stand_in.lose.add("admissions")
    server.stop()
    # The device stored the service's verdict once it could.
    assert device.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN
    assert device.scan(tokens[1]).may_pass


def test_nobody_is_admitted_offline_while_the_disk_fails(ready, disk, fault, server):
    device, tokens = ready
    server.stop()
    eventually(lambda: device.state == "OFFLINE")
    disk.fault = fault
    answer = device.scan(tokens[0])
    assert (answer.may_pass, answer.reason) == (False, None)
    assert answer.note.startswith(f"{CANNOT_STORE}: the disk")
    disk.fault = 0
    assert device.store.queue_length() == 0
    assert device.scan(tokens[0]).may_pass
    assert device.store.queue_length() == 1


def test_unanswered_request_keeps_its_id_while_the_disk_fails(ready, disk, stand_in):
    device, tokens = ready
    disk.fault = SQLITE_FULL
    stand_in.lose.add("result")
    # The service records the admission, and its answer is lost.
    assert not device.scan(tokens[0]).may_pass
    stand_in.lose.clear()
    stand_in.end_streams()
    eventually(lambda: device.state == "ONLINE")
    answer = device.scan(tokens[0])
    assert answer.may_pass
    assert set(stand_in.records) == {answer.scan_id}


def test_shown_admission_is_not_shown_again_after_a_failed_write(ready, disk, fault):
    device, tokens = ready

    def show(_) -> None:
        disk.fault = fault

    assert device.device.scan(tokens[0], show).may_pass
    assert device.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN
    disk.fault = 0
    assert device.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN


def test_replica_follows_again_after_the_disk_failed(ready, disk, fault, stand_in):
    device, _ = ready
    disk.fault = fault
    stand_in.ticket()
    eventually(lambda: device.store.problem)
    disk.fault = 0
    eventually(lambda: device.store.ticket_count(stand_in.event_id) == 3)
    assert device.store.problem == ""
    assert device.replica.thread.is_alive
    assert device.connection.thread.is_alive


@pytest.fixture
def short_pause(monkeypatch) -> None:
    """Send rejected uploads again after 50 ms."""
    monkeypatch.setattr(delivery, "UPLOAD_PAUSE_SECONDS", 0.05)


@pytest.mark.usefixtures("short_pause")
def test_connection_opens_and_delivers_around_a_failing_disk(ready, disk, fault, stand_in, server):
    device, tokens = ready
    server.stop()
    device.scan(tokens[0])
    disk.fault = fault
    server.start()
    eventually(lambda: device.state == "ONLINE")
    # The service records the decision, and the device cannot remove it.
    eventually(lambda: len(stand_in.uploads) > 1)
    assert device.store.queue_length() == 1
    disk.fault = 0
    eventually(lambda: device.store.queue_length() == 0)


def test_annulment_that_cannot_be_stored_is_not_shown(ready, disk, server):
    device, tokens = ready
    server.stop()
    device.scan(tokens[0])
    disk.fault = SQLITE_FULL
    answer = device.device.annul_last()
    assert (answer.annulled, answer.may_pass) == (False, False)
    assert answer.note.startswith("not annulled")
    disk.fault = 0
    assert device.device.annul_last().annulled


@pytest.mark.parametrize("fault", [SQLITE_FULL, SQLITE_IOERR_FSYNC])
def test_failed_commit_leaves_no_open_transaction(disk, tmp_path, fault):
    store = Store(tmp_path / "gate.sqlite")
    with pytest.raises(sqlite3.OperationalError), store.transaction():  # noqa: PT012 - the commit fails
        store.save_setting("a", "b")
        disk.fault = fault
    disk.fault = 0
    store.save_setting("c", "d")
    store.close()
    reopened = Store(tmp_path / "gate.sqlite")
    assert (reopened.setting("a"), reopened.setting("c")) == (None, "d")
    reopened.close()


def test_status_shows_the_disk_until_it_works_again(ready, disk):
    device, _ = ready
    read_status = StatusReader(device.gate, device.store, device.clock, lambda: device.connection.status)
    assert read_status().problems == []
    disk.fault = SQLITE_FULL
    device.scan("anything")
    assert read_status().problems == ["the disk is full: free space on it (database or disk is full)"]
    assert (
        read_status().line() == "ONLINE; offline ready; the disk is full: free space on it (database or disk is full)"
    )
    disk.fault = 0
    device.scan("anything")
    assert read_status().problems == []


def test_status_is_readable_after_the_file_is_gone(ready):
    device, _ = ready
    read_status = StatusReader(device.gate, device.store, device.clock, lambda: device.connection.status)
    device.close()
    assert read_status().location == "one"


def test_end_of_the_program_waits_for_no_disk_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("ticketing.gate.device_file.CLOSE_SECONDS", 0.05)
    monkeypatch.setattr("ticketing.gate.retrying.STOP_SECONDS", 0.05)
    store, begun, released = Store(tmp_path / "gate.sqlite"), threading.Event(), threading.Event()

    def write() -> Outcome:
        with store.transaction():
            begun.set()
            released.wait()
        return Outcome.LASTED

    thread = RetryingThread("replica", write)
    thread.start()
    begun.wait()
    thread.stop()
    store.close()
    assert thread.is_alive
    released.set()
    eventually(lambda: thread.is_alive, wanted=False)
    store.close()
