"""Devices scan for an hour without a network and with wrong clocks; their uploads are cut and repeated."""

import os
import random
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.environment.waiting import eventually
from tests.processes.gate import Process
from tests.scanning.gates import token_of
from ticketing.admission.scans import DenialReason
from ticketing.gate.delivery import Delivery
from ticketing.gate.device_clock import Boot
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)
ROUNDS = int(os.environ.get("TICKETING_ROUNDS", "2"))
SEED = int(os.environ.get("TICKETING_SEED", "1"))
PEOPLE = 40


class Door:
    """A device, and its answers with their times by the service's clock."""

    def __init__(self, device, venue_clock) -> None:
        self.device = device
        self.shown: dict[str, Any] = {}
        self._clock = venue_clock

    def scan(self, text: str):
        answer = self.device.scan(text)
        self.shown[answer.scan_id] = (answer.may_pass, self.device.gate.location, self._clock())
        return answer


@pytest.fixture
def doors(database, wifi, venue_clock, new_handheld, issuer):
    """Yield a function that makes two devices: one clock is ten minutes fast, the other ten minutes slow."""

    def make(event_id) -> list[Door]:
        made = []
        for name, wrong in (("north", 10 * MINUTE), ("south", -10 * MINUTE)):
            metadata = issuer.metadata("scanner", name, exp=datetime.now(UTC) + timedelta(hours=9))
            # The time since the start of the device advances with the night.
            boot = Boot("boot", lambda: venue_clock() - datetime(2020, 1, 1, tzinfo=UTC))
            clock = lambda wrong=wrong: venue_clock() + wrong  # noqa: E731 - binds the loop's variable
            device = new_handheld(wifi.address, event_id, name, metadata=metadata, clock=clock, boot=boot)
            made.append(Door(device.connect().follow(), venue_clock))
        known = len(database.rows("tickets"))
        eventually(lambda: all(door.device.store.ticket_count(event_id) == known for door in made))
        return made

    return make


def test_offline_hour_with_wrong_clocks_is_recorded_as_shown(  # noqa: PLR0913, PLR0917 - fixtures
    database, wifi, office, venue_clock, doors, monkeypatch
):
    monkeypatch.setattr("ticketing.gate.delivery.UPLOAD_SCANS", 5)
    event_id, chance = database.event(), random.Random(SEED)
    plain, shared, refunded = ([database.ticket(event_id) for _ in range(count)] for count in (20, 4, 3))
    in_half_an_hour = venue_clock() + 30 * MINUTE
    early, late = (database.ticket(event_id, valid_until_time=in_half_an_hour) for _ in range(2))
    forged = token_of(type(database.key).generate(), event_id, uuid.uuid4())
    north, south = doors(event_id)

    wifi.pull()
    eventually(lambda: all(door.device.state == "OFFLINE" for door in (north, south)))
    for ticket in refunded:
        office.refund(ticket)
    # Each step is a minute, a gate, a text, and the reason of the denial.
    night: list[tuple[float, Any, str, DenialReason | None]]
    night = [(chance.uniform(0, 60), chance.choice((north, south)), ticket.token, None) for ticket in plain + refunded]
    night += [(minute + 0.1, door, text, DenialReason.ALREADY_CHECKED_IN) for minute, door, text, _ in night[:5]]
    night += [(chance.uniform(0, 60), door, ticket.token, None) for ticket in shared for door in (north, south)]
    # By the wrong clock of its gate the first ticket has expired, and the second has not.
    night += [(25, north, early.token, None), (35, south, late.token, DenialReason.EXPIRED)]
    night += [(minute, north, forged, DenialReason.INVALID_SIGNATURE) for minute in (50, 51)]
    begin = venue_clock()
    for minute, door, text, reason in sorted(night, key=lambda step: step[0]):
        venue_clock.advance(begin + minute * MINUTE - venue_clock())
        assert door.scan(text).reason is reason

    # The service records uploads whose replies are lost; the next uploads are cut; then everything is sent again.
    with monkeypatch.context() as losing:
        losing.setattr(Delivery, "handle_uploaded", lambda *_: None)
        wifi.plug_in()
        eventually(lambda: len(office.scans(event_id)) >= 10)
        wifi.pull()
    for door in (north, south):
        assert door.device.store.queue_length() == len(door.shown)
    wifi.plug_in()
    eventually(lambda: north.device.store.queue_length() < len(north.shown))
    wifi.pull()
    wifi.plug_in()
    eventually(lambda: all(door.device.store.queue_length() == 0 for door in (north, south)))

    shown = north.shown | south.shown
    recorded = {scan.scan_id: scan for scan in office.scans(event_id)}
    assert {
        scan_id: (scan.verdict == scan_pb2.VERDICT_ADMITTED, scan.location) for scan_id, scan in recorded.items()
    } == {scan_id: (green, location) for scan_id, (green, location, _) in shown.items()}
    for scan_id, (_, _, time) in shown.items():
        assert abs(recorded[scan_id].scan_time.ToDatetime(tzinfo=UTC) - time) < MINUTE
    assert office.incidents(event_id) == sorted(
        [
            *((scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, str(ticket.ticket_id), 2) for ticket in shared),
            *((scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION, str(ticket.ticket_id), 1) for ticket in refunded),
            (scan_pb2.INCIDENT_KIND_FORGED_TOKEN, "", 2),
        ]
    )


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_device_killed_on_an_unstable_network_admits_everybody_once(  # noqa: PLR0913, PLR0917 - fixtures
    database, wifi, office, scan_service, issuer, tmp_path, new_handheld
):
    event_id = database.event()
    # Each of two threads has its own generator.
    chance, moments = random.Random(SEED), random.Random(SEED)
    tokens = [database.ticket(event_id).token for _ in range(PEOPLE * ROUNDS)]
    prepared = new_handheld(scan_service, event_id, "gate").connect().follow()
    eventually(lambda: prepared.store.ticket_count(event_id) == len(tokens))
    prepared.close()
    (tmp_path / "token").write_text(issuer.token("scanner", "gate"))
    command = [sys.executable, "-m", "ticketing.gate", "run", "--json", "--data", str(tmp_path), "--location", "gate"]
    command += ["--server", wifi.address, "--event", str(event_id), "--token-file", str(tmp_path / "token")]
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.wait(chance.uniform(0.05, 0.3)):
            wifi.pull()
            ended.wait(chance.uniform(0.05, 0.3))
            wifi.plug_in()

    network = threading.Thread(target=come_and_go)
    network.start()
    waiting, admitted = list(tokens), {}
    try:
        for _ in range(ROUNDS):
            for answer in Process(command).kill_while_scanning(waiting[:PEOPLE], moments.uniform(0, 0.3)):
                assert answer["open"], answer
                admitted[waiting.pop(0)] = answer["scan_id"]
    finally:
        ended.set()
        network.join()
    again = new_handheld(scan_service, event_id, "gate").connect()
    # The rest of the last round has no answer yet.
    for token in waiting[:PEOPLE]:
        answer = again.scan(token)
        assert answer.may_pass
        admitted[token] = answer.scan_id
    eventually(lambda: again.store.queue_length() == 0)
    admissions = [scan for scan in office.scans(event_id) if scan.verdict == scan_pb2.VERDICT_ADMITTED]
    assert len({scan.ticket_id for scan in admissions}) == len(admissions) == len(admitted)
    assert {scan.scan_id for scan in admissions} == set(admitted.values())
    assert office.incidents(event_id) == []
