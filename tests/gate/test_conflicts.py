"""Scans of disconnected devices are recorded as shown, and conflicts become incidents."""

import math
import os
import uuid

import pytest

from tests.environment.waiting import eventually
from tests.scanning.gates import token_of
from ticketing.admission.scans import DenialReason
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow


def test_each_conflict_of_an_outage_becomes_one_incident(database, wifi, office, new_handheld):
    event_id = database.event()
    plain, shared, refunded = (database.ticket(event_id) for _ in range(3))
    sold_since = database.unknown(event_id)
    forged = token_of(type(database.key).generate(), event_id, uuid.uuid4())
    north = new_handheld(wifi.address, event_id, "north").connect().follow()
    south = new_handheld(wifi.address, event_id, "south").connect().follow()
    eventually(lambda: all(device.store.ticket_count(event_id) == 3 for device in (north, south)))

    wifi.pull()
    office.refund(refunded)
    assert [north.scan(shown.token).may_pass for shown in (plain, shared, refunded, sold_since)] == [True] * 4
    assert north.scan(plain.token).reason is DenialReason.ALREADY_CHECKED_IN
    assert [north.scan(forged).reason for _ in range(2)] == [DenialReason.INVALID_SIGNATURE] * 2
    # The south device has no connection either.
    assert south.scan(shared.token).may_pass

    wifi.plug_in()
    eventually(lambda: all(device.store.queue_length() == 0 for device in (north, south)))
    incidents = [
        (scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, str(shared.ticket_id), 2),
        (scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION, str(refunded.ticket_id), 1),
        (scan_pb2.INCIDENT_KIND_FORGED_TOKEN, "", 2),
    ]
    assert office.incidents(event_id) == sorted(incidents)
    shown = {
        answer.scan_id: (answer.may_pass, device.gate.location) for device in (north, south) for answer in device.shown
    }
    recorded = {
        scan.scan_id: (scan.verdict == scan_pb2.VERDICT_ADMITTED, scan.location) for scan in office.scans(event_id)
    }
    assert recorded == shown
    # After delivery the replica of one device contains the scans of the other.
    eventually(lambda: south.store.ticket(event_id, plain.ticket_id).admission.inside)
    wifi.pull()
    assert south.scan(plain.token).reason is DenialReason.ALREADY_CHECKED_IN


def test_queue_uploaded_at_another_event_is_recorded_at_its_own(database, wifi, office, new_handheld):
    last_night, tonight = database.event(), database.event()
    ticket = database.ticket(last_night)
    device = new_handheld(wifi.address, last_night, "one").connect().follow()
    eventually(lambda: device.store.ticket_count(last_night) == 1)
    wifi.pull()
    answer = device.scan(ticket.token)
    device.close()
    wifi.plug_in()
    again = new_handheld(wifi.address, tonight, "one").connect()
    eventually(lambda: again.store.queue_length() == 0)
    assert [scan.scan_id for scan in office.scans(last_night)] == [answer.scan_id]
    assert office.scans(tonight) == []


def test_unstable_network_loses_no_scan_and_makes_no_conflict(database, wifi, office, new_handheld):
    """The network fails between any two scans."""
    people = int(os.environ.get("TICKETING_ROUNDS", "40"))
    event_id = database.event()
    tickets = [database.ticket(event_id) for _ in range(people)]
    device = new_handheld(wifi.address, event_id, "north").connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == people)
    for number, ticket in enumerate(tickets):
        if number % 10 == 3:
            wifi.pull()
        if number % 10 == 7:
            wifi.plug_in()
        assert device.scan(ticket.token).may_pass
        # The second scan follows at once, whether or not the replica contains the first.
        assert device.scan(ticket.token).reason is DenialReason.ALREADY_CHECKED_IN
    eventually(lambda: device.store.queue_length() == 0)
    recorded = {scan.scan_id: scan.verdict == scan_pb2.VERDICT_ADMITTED for scan in office.scans(event_id)}
    assert recorded == {answer.scan_id: answer.may_pass for answer in device.shown[:1_000]}
    assert office.incidents(event_id) == []


def test_code_of_a_ticket_admitted_offline_is_denied_once_online(database, wifi, new_handheld):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = new_handheld(wifi.address, event_id, "north").connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == 1)
    wifi.pull()
    eventually(lambda: device.state == "OFFLINE")
    assert device.scan(ticket.token).may_pass
    wifi.plug_in()
    eventually(lambda: device.state == "ONLINE")
    answer = device.scan(ticket.code)
    assert (answer.reason, answer.offline) == (DenialReason.ALREADY_CHECKED_IN, False)


def lose_answers(device) -> None:
    """Lose every response of the service, while requests still arrive."""
    device.replica.stop()
    device.connection._receive = lambda *_: None  # noqa: SLF001 - loses answers
    # On this stream no upload follows within 50 ms and replaces the record before a test has read it.
    device.connection._stream.delivery.next_time = math.inf  # noqa: SLF001 - the next stream uploads


def receive_again(device, wifi) -> None:
    wifi.pull()
    del device.connection._receive  # noqa: SLF001 - restores the method
    wifi.plug_in()
    eventually(lambda: device.store.queue_length() == 0)


def recorded(office, event_id, scan_id) -> tuple[int, bool] | None:
    return next(((scan.verdict, scan.offline) for scan in office.scans(event_id) if scan.scan_id == scan_id), None)


def test_denied_but_shown_as_admitted_becomes_an_incident(database, wifi, office, new_handheld):
    event_id = database.event()
    ticket = database.ticket(event_id)
    device = new_handheld(wifi.address, event_id, "north", answer_seconds=0.3).connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == 1)
    lose_answers(device)
    office.refund(ticket)
    answer = device.scan(ticket.token)
    assert answer.may_pass
    eventually(lambda: recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_DENIED, False))
    receive_again(device, wifi)
    assert recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_ADMITTED, True)
    incident = (scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION, str(ticket.ticket_id), 1)
    assert office.incidents(event_id) == [incident]


def test_admitted_but_shown_as_denied_leaves_the_ticket_valid(database, wifi, office, scan_service, new_handheld):
    event_id = database.event()
    ticket = database.ticket(event_id)
    south = new_handheld(scan_service, event_id, "south").connect()
    north = new_handheld(wifi.address, event_id, "north", answer_seconds=0.3).connect().follow()
    first = south.scan(ticket.token)
    assert first.may_pass
    eventually(lambda: (known := north.store.ticket(event_id, ticket.ticket_id)) and known.admission.inside)
    lose_answers(north)
    # The annulment reaches the service, on another stream than the next scan of north, but not the replica of north.
    assert south.device.annul_last().annulled
    eventually(
        lambda: [scan.scan_id for scan in office.scans(event_id) if scan.HasField("annul_time")] == [first.scan_id]
    )
    answer = north.scan(ticket.token)
    assert answer.reason is DenialReason.ALREADY_CHECKED_IN
    eventually(lambda: recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_ADMITTED, False))
    receive_again(north, wifi)
    assert recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_DENIED, True)
    assert office.incidents(event_id) == []
    assert south.scan(ticket.token).may_pass
