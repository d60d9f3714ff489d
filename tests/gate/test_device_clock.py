"""A device knows the time from the service and the start of the machine, whatever its wall clock shows."""

import os
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.environment.clock import SettableClock
from tests.environment.waiting import eventually
from ticketing.admission.scans import DenialReason
from ticketing.chassis.clock import system_clock
from ticketing.gate.device_clock import CLOCK_UNKNOWN, Boot, DeviceClock, this_boot
from ticketing.gate.device_status import StatusReader
from ticketing.gate.messages import time_of

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ROUNDS = int(os.environ.get("TICKETING_ROUNDS", "6"))
SEED = int(os.environ.get("TICKETING_SEED", "1"))


class Machine:
    """A machine with a wall clock that anybody sets, and the true time."""

    def __init__(self, name: str = "first") -> None:
        self.true_time = NOON
        self.wall = SettableClock(NOON)
        self.boot = Boot(name, lambda: self.true_time - NOON + HOUR)

    def clock(self, stored: str | None = None) -> DeviceClock:
        return DeviceClock(stored, self.wall, self.boot)

    def passes(self, time: timedelta) -> None:
        self.true_time += time
        self.wall.advance(time)


def test_steps_of_the_wall_clock_change_nothing():
    machine = Machine()
    machine.wall.advance(3 * HOUR)
    clock = machine.clock()
    clock.set(machine.true_time, timedelta())
    machine.wall.advance(-3 * HOUR)
    machine.passes(10 * SECOND)
    assert (clock(), clock.is_known) == (machine.true_time, True)


def test_next_run_since_the_same_start_knows_the_time():
    machine = Machine()
    clock = machine.clock()
    clock.set(machine.true_time, timedelta())
    machine.passes(HOUR)
    machine.wall.advance(-48 * HOUR)
    again = machine.clock(clock.state())
    assert (again(), again.is_known) == (machine.true_time, True)


def test_clock_after_another_start_is_an_estimate_that_never_goes_back():
    clock = Machine().clock()
    clock.set(NOON, timedelta())
    after = Machine("second")
    after.wall.now = datetime(1970, 1, 1, tzinfo=UTC)
    again = after.clock(clock.state())
    assert (again(), again.is_known, again.earliest) == (NOON, False, NOON)
    # A third start without a connection still has the time of the first.
    third = Machine("third").clock(again.state())
    assert third.earliest == NOON


def test_wrong_clock_of_the_run_before_is_corrected_in_the_estimate():
    machine = Machine()
    machine.wall.advance(-HOUR)
    clock = machine.clock()
    clock.set(NOON, timedelta())
    after = Machine("second")
    after.wall.now = NOON + 5 * HOUR
    assert after.clock(clock.state())() == NOON + 6 * HOUR


def test_slow_network_moves_a_known_time_within_its_uncertainty_alone():
    machine = Machine()
    clock = machine.clock()
    clock.set(NOON, timedelta())
    # This answer took four seconds, and was read at some moment of these.
    machine.passes(4 * SECOND)
    clock.set(NOON + SECOND, 4 * SECOND)
    assert clock() == machine.true_time
    # An answer that waited in a buffer proves only that its time has passed.
    clock.set(NOON, None)
    assert clock() == machine.true_time
    clock.set(machine.true_time + SECOND, None)
    assert clock() == machine.true_time + SECOND


def test_machine_has_a_start():
    first, second = this_boot(), this_boot()
    assert first.boot_id
    assert first.elapsed() <= second.elapsed()


@pytest.fixture
def prepared(handheld, stand_in):
    """Return a ticket that is valid now; the device "one" has a complete replica and is switched off."""
    token = stand_in.ticket()
    handheld.follow()
    eventually(lambda: handheld.store.replica_state(stand_in.event_id).is_complete)
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 1)
    handheld.close()
    return token


def test_device_without_a_clock_admits_offline_with_a_note(prepared, stand_in, server, new_handheld):
    server.stop()
    past = SettableClock(datetime(1970, 1, 1, tzinfo=UTC))
    device = new_handheld(server.address, stand_in.event_id, clock=past, boot=Boot("second", timedelta)).connect()
    answer = device.scan(prepared)
    assert (answer.may_pass, answer.note) == (True, CLOCK_UNKNOWN)
    read_status = StatusReader(device.gate, device.store, device.clock, lambda: device.connection.status)
    assert read_status().problems == [CLOCK_UNKNOWN]
    (queued,) = device.store.queued(9, 9_999)
    assert queued.offline.clock_unknown
    # No time before the last one that the device knew.
    assert abs(time_of(queued.offline.scan_time) - system_clock()) < timedelta(minutes=5)


def test_ticket_that_ended_before_the_last_known_time_is_denied(prepared, stand_in, server, new_handheld):
    ended = stand_in.ticket()
    stand_in.rules.valid_until_time.FromDatetime(system_clock() - HOUR)
    device = new_handheld(server.address, stand_in.event_id).connect().follow()
    eventually(lambda: device.store.ticket_count(stand_in.event_id) == 2)
    device.close()
    server.stop()
    past = SettableClock(datetime(1970, 1, 1, tzinfo=UTC))
    device = new_handheld(server.address, stand_in.event_id, clock=past, boot=Boot("second", timedelta)).connect()
    assert device.scan(ended).reason is DenialReason.EXPIRED


def test_estimated_times_are_corrected_before_the_delivery(prepared, stand_in, server, new_handheld):
    server.stop()
    future = SettableClock(system_clock() + 72 * HOUR)
    boot = Boot("second", lambda: system_clock() - NOON)
    device = new_handheld(server.address, stand_in.event_id, clock=future, boot=boot).connect()
    before = system_clock()
    device.scan(prepared)
    assert device.device.annul_last().annulled
    answer = device.scan(prepared)
    assert answer.may_pass
    server.start()
    eventually(lambda: device.store.queue_length() == 0)
    read_status = StatusReader(device.gate, device.store, device.clock, lambda: device.connection.status)
    assert read_status().problems == []
    for scan in stand_in.records.values():
        assert not scan.doubtful_time
        assert before - 2 * SECOND < time_of(scan.scan_time) < system_clock() + 2 * SECOND
        assert not scan.HasField("annul_time") or time_of(scan.annul_time) < system_clock() + 2 * SECOND


def test_decisions_of_an_earlier_start_stay_doubtful(prepared, stand_in, server, new_handheld):
    server.stop()
    past = SettableClock(datetime(1970, 1, 1, tzinfo=UTC))
    device = new_handheld(server.address, stand_in.event_id, clock=past, boot=Boot("second", timedelta)).connect()
    answer = device.scan(prepared)
    device.close()
    server.start()
    device = new_handheld(server.address, stand_in.event_id, boot=Boot("third", timedelta)).connect()
    eventually(lambda: device.store.queue_length() == 0)
    assert stand_in.records[answer.scan_id].doubtful_time


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_every_decision_is_recorded_in_time_or_marked(server, stand_in, new_handheld):
    """The wall clock is stepped, the network comes and goes, the program and the machine start again, at random."""
    chance = random.Random(SEED)
    wall, boots = SettableClock(), 0
    shown = {}

    def start():
        boot = Boot(f"boot {boots}", lambda: system_clock() - NOON + boots * HOUR)
        return new_handheld(server.address, stand_in.event_id, clock=wall, boot=boot).connect().follow()

    stand_in.rules.valid_from_time.FromDatetime(system_clock() - HOUR)
    device, is_online = start(), True
    eventually(lambda: device.store.replica_state(stand_in.event_id).is_complete)
    for _ in range(ROUNDS):
        for _ in range(10):
            step = chance.choice(["scan"] * 4 + ["clock", "network", "program", "machine"])
            if step == "scan":
                answer = device.scan(stand_in.ticket(copied=False))
                assert answer.may_pass
                shown[answer.scan_id] = system_clock()
            elif step == "clock":
                wall.advance(timedelta(seconds=chance.uniform(-1, 1) * 10 ** chance.uniform(0, 9)))
                wall.now = min(max(wall.now, datetime(1970, 1, 1, tzinfo=UTC)), datetime(2100, 1, 1, tzinfo=UTC))
            elif step == "network":
                (server.stop if is_online else server.start)()
                is_online = not is_online
            else:
                device.close()
                boots += step == "machine"
                device = start()
        if not is_online:
            server.start()
            is_online = True
        eventually(device.store.queue_length, 0)
    doubtful = 0
    for scan_id, time in shown.items():
        record = stand_in.records[scan_id]
        doubtful += record.doubtful_time
        assert record.doubtful_time or abs(time_of(record.scan_time) - time) <= 2 * SECOND
    # Only the decisions of a start that never had a connection are doubtful.
    assert doubtful < len(shown)
