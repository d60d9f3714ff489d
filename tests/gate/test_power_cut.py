"""Disks that are full, read-only or broken, and power cuts, at random moments: no shown admission is lost.

`TICKETING_ROUNDS=200 pytest tests/gate/test_power_cut.py` makes 200 runs of each kind.
"""

import os
import random
import shutil
import sys

import pytest

from tests.environment.disk import FAULTS, Disk, cut_power
from tests.environment.waiting import eventually
from tests.processes.gate import Process
from ticketing.admission.scans import DenialReason
from ticketing.gate.device import CANNOT_STORE
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TICKETING_ROUNDS", "3"))
SEED = int(os.environ.get("TICKETING_SEED", "1"))
PEOPLE = 40


@pytest.fixture(autouse=True)
def short_pause(monkeypatch) -> None:
    monkeypatch.setattr("ticketing.gate.delivery.UPLOAD_PAUSE_SECONDS", 0.05)


@pytest.fixture
def disk():
    """Give the files of the test's device a disk that fails; it outlives them."""
    installed = Disk().install()
    yield installed
    installed.uninstall()


class Night:
    """The scans that were shown as admitted."""

    def __init__(self, stand_in) -> None:
        self._stand_in = stand_in
        self.shown: dict[str, str] = {}

    def check(self, queued: set[str] | None = None) -> None:
        """Check that every shown admission is recorded by the service or, with `queued`, waits for its delivery."""
        for scan_id in set(self.shown.values()) - (queued or set()):
            assert self._stand_in.records[scan_id].verdict == scan_pb2.VERDICT_ADMITTED


@pytest.mark.timeout(120 + 15 * ROUNDS)
def test_power_cut_loses_no_shown_admission(server, stand_in, tmp_path, new_handheld):
    chance, night = random.Random(SEED), Night(stand_in)
    synced = tmp_path / "synced"
    prepared = new_handheld(server.address, stand_in.event_id, "gate").connect().follow()
    eventually(lambda: prepared.store.replica_state(stand_in.event_id).is_complete)
    prepared.close()
    (tmp_path / "token").write_text("secret")
    gate = ["run", "--json", "--data", str(tmp_path), "--location", "gate", "--event", str(stand_in.event_id)]
    gate += ["--server", server.address, "--token-file", str(tmp_path / "token")]
    waiting: list[str] = []
    is_online = True
    for number in range(ROUNDS):
        if is_online != (chance.random() < 0.5):
            (server.stop if is_online else server.start)()
            is_online = not is_online
        waiting += [stand_in.ticket() for _ in range(PEOPLE - len(waiting))]
        shutil.rmtree(synced, ignore_errors=True)
        synced.mkdir()
        command = [sys.executable, "-m", "tests.processes.faulty_gate", str(synced), str(SEED + number), *gate]
        refused = []
        for answer in Process(command).kill_while_scanning(waiting, chance.uniform(0, 0.6)):
            token = waiting.pop(0)
            if answer["open"]:
                night.shown[token] = answer["scan_id"]
            elif answer["denial_reason"] is None:
                assert answer["note"].startswith(CANNOT_STORE), answer
                refused.append(token)
            else:
                # The service recorded the admission, and the power failed before it was shown, while the disk failed.
                assert answer["denial_reason"] == "ALREADY_CHECKED_IN", answer
        waiting += refused
        cut_power(tmp_path, synced, chance)
        store = Store(tmp_path / "gate.sqlite")
        queued = {scan.scan_id for scan in store.queued(10_000, 10**9)}
        store.close()
        night.check(queued)
    if not is_online:
        server.start()
    again = new_handheld(server.address, stand_in.event_id, "gate").connect()
    eventually(lambda: again.store.queue_length() == 0)
    night.check()


@pytest.mark.timeout(120 + 15 * ROUNDS)
def test_failing_disk_ends_no_thread_and_loses_no_shown_admission(disk, server, stand_in, new_handheld):
    chance, night = random.Random(SEED), Night(stand_in)
    try:
        device = new_handheld(server.address, stand_in.event_id).connect().follow()
        eventually(lambda: device.store.replica_state(stand_in.event_id).is_complete)
        is_online = True
        tokens: list[str] = []
        for _ in range(ROUNDS):
            for _ in range(12):
                step = chance.choice(["scan"] * 5 + ["again", "disk", "disk", "network", "ticket"])
                if step in {"scan", "again"}:
                    token = chance.choice(tokens) if step == "again" and tokens else stand_in.ticket()
                    answer = device.scan(token)
                    if answer.may_pass:
                        assert token not in night.shown, "one ticket was shown as admitted twice"
                        night.shown[token] = answer.scan_id
                        tokens.append(token)
                    elif answer.reason is not DenialReason.ALREADY_CHECKED_IN:
                        assert answer.note.startswith(CANNOT_STORE), answer
                elif step == "disk":
                    disk.fault = 0 if disk.fault else chance.choice(FAULTS)
                elif step == "network":
                    (server.stop if is_online else server.start)()
                    is_online = not is_online
                else:
                    stand_in.ticket()
            disk.fault = 0
            if not is_online:
                server.start()
                is_online = True
            eventually(device.store.queue_length, 0)
            eventually(lambda: device.store.ticket_count(stand_in.event_id), stand_in.ticket_count())
            assert device.connection.thread.is_alive
            assert device.replica.thread.is_alive
            night.check()
            codes = [scan.code for scan in stand_in.records.values() if scan.verdict == scan_pb2.VERDICT_ADMITTED]
            assert len(set(codes)) == len(codes)
    finally:
        disk.fault = 0
