"""A device killed at any moment loses no admission, and a scan without an answer denies nobody."""

import os
import random
import sys

import pytest

from tests.environment.waiting import eventually
from tests.processes.gate import Process
from tests.scanning.gates import ticket_id_in
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TICKETING_ROUNDS", "3"))
PEOPLE = 60


@pytest.mark.timeout(60 + 5 * ROUNDS)
@pytest.mark.parametrize("connected", [True, False], ids=["online", "offline"])
def test_device_killed_at_any_moment_admits_everybody_once(connected, server, stand_in, tmp_path, new_handheld):
    tokens = [stand_in.ticket() for _ in range(PEOPLE)]
    prepared = new_handheld(server.address, stand_in.event_id, "gate").connect().follow()
    eventually(lambda: prepared.store.ticket_count(stand_in.event_id) == PEOPLE)
    prepared.close()
    if not connected:
        server.stop()
    (tmp_path / "token").write_text("secret")
    command = [sys.executable, "-m", "ticketing.gate", "run", "--json", "--data", str(tmp_path), "--location", "North"]
    command += ["--server", server.address, "--event", str(stand_in.event_id), "--token-file", str(tmp_path / "token")]
    chance = random.Random(7)
    waiting, admitted = list(tokens), {}
    for _ in range(ROUNDS):
        for answer in Process(command).kill_while_scanning(waiting, chance.uniform(0, 0.1)):
            token = waiting.pop(0)
            # Every ticket of the queue is valid and has no answer yet.
            assert answer["open"], answer
            admitted[token] = answer["scan_id"]
        if not waiting:
            tokens = [stand_in.ticket(copied=False) for _ in range(PEOPLE)]
            waiting = list(tokens)
    if not connected:
        store = Store(tmp_path / "gate.sqlite")
        kept = {scan.scan_id for scan in store.queued(PEOPLE * ROUNDS, 10**9)}
        store.close()
        assert kept >= set(admitted.values())
        server.start()
    assert len(set(admitted.values())) == len(admitted)
    again = new_handheld(server.address, stand_in.event_id, "gate").connect()
    eventually(lambda: again.store.queue_length() == 0)
    for token, scan_id in admitted.items():
        assert stand_in.records[scan_id].verdict == scan_pb2.VERDICT_ADMITTED
        # No ticket was admitted by two scans.
        ticket_id = ticket_id_in(token)
        scans = [scan for scan in stand_in.records.values() if scan.code == token]
        assert [scan.scan_id for scan in scans if scan.verdict == scan_pb2.VERDICT_ADMITTED] == [scan_id], ticket_id


def test_transactions_are_synced_to_disk(tmp_path):
    """A test cannot cut the power, so it checks the settings of SQLite."""
    store = Store(tmp_path / "gate.sqlite")
    pragmas = [store._value(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")]  # noqa: SLF001 - reads the settings
    store.close()
    assert pragmas == ["wal", 2]
