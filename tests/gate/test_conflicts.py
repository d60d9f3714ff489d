"""Devices that were cut off, and the real service: what they made of it is recorded, and every conflict an incident."""

import math
import os
import uuid

from tests.environment.waiting import eventually
from tests.scanning.gates import token_of
from ticketing.admission.scans import DenialReason
from ticketing.scans.v1 import scan_pb2


def test_what_happened_while_the_network_was_pulled_is_found_out_once(copy, wifi, office, new_handheld):
    event_id = copy.event()
    plain, shared, refunded = (copy.ticket(event_id) for _ in range(3))
    sold_since = copy.unknown(event_id)
    forged = token_of(type(copy.key).generate(), event_id, uuid.uuid4())
    north = new_handheld(wifi.address, event_id, "north").connect().follow()
    south = new_handheld(wifi.address, event_id, "south").connect().follow()
    eventually(lambda: all(device.store.ticket_count(event_id) == 3 for device in (north, south)))

    wifi.pull()
    office.refund(refunded)
    assert [north.scan(shown.token).green for shown in (plain, shared, refunded, sold_since)] == [True] * 4
    assert north.scan(plain.token).reason is DenialReason.ALREADY_CHECKED_IN
    assert north.scan(forged).reason is DenialReason.INVALID_SIGNATURE
    # Nobody has told the south.
    assert south.scan(shared.token).green

    wifi.plug_in()
    eventually(lambda: all(device.store.queue_length() == 0 for device in (north, south)))
    incidents = [
        (scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, str(shared.ticket_id), 2),
        (scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION, str(refunded.ticket_id), 1),
        (scan_pb2.INCIDENT_KIND_FORGED_TOKEN, "", 1),
    ]
    assert office.incidents(event_id) == sorted(incidents)
    shown = {
        answer.scan_id: (answer.green, device.gate.location) for device in (north, south) for answer in device.shown
    }
    recorded = {
        scan.scan_id: (scan.verdict == scan_pb2.VERDICT_ADMITTED, scan.location) for scan in office.scans(event_id)
    }
    assert recorded == shown
    # The copies heal: what one has done, the other knows.
    eventually(lambda: south.store.ticket(event_id, plain.ticket_id).admission.inside)
    wifi.pull()
    assert south.scan(plain.token).reason is DenialReason.ALREADY_CHECKED_IN


def test_last_nights_queue_is_uploaded_from_another_gate_and_stays_where_it_was(copy, wifi, office, new_handheld):
    last_night, tonight = copy.event(), copy.event()
    ticket = copy.ticket(last_night)
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


def test_a_network_that_comes_and_goes_in_the_middle_of_scans_loses_nobody(copy, wifi, office, new_handheld):
    """Pulled at any moment: everybody has one answer, the record says what was shown, one device makes no conflict."""
    people = int(os.environ.get("TICKETING_ROUNDS", "40"))
    event_id = copy.event()
    tickets = [copy.ticket(event_id) for _ in range(people)]
    device = new_handheld(wifi.address, event_id, "north").connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == people)
    for number, ticket in enumerate(tickets):
        if number % 10 == 3:
            wifi.pull()
        if number % 10 == 7:
            wifi.plug_in()
        assert device.scan(ticket.token).green
        # At once, whatever the copy knows by now.
        assert device.scan(ticket.token).reason is DenialReason.ALREADY_CHECKED_IN
    eventually(lambda: device.store.queue_length() == 0)
    recorded = {scan.scan_id: scan.verdict == scan_pb2.VERDICT_ADMITTED for scan in office.scans(event_id)}
    assert recorded == {answer.scan_id: answer.green for answer in device.shown[:1_000]}
    assert office.incidents(event_id) == []


def test_a_code_typed_for_a_ticket_that_came_offline_is_denied_as_soon_as_it_is_taken(copy, wifi, new_handheld):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    device = new_handheld(wifi.address, event_id, "north").connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == 1)
    wifi.pull()
    eventually(lambda: device.state == "OFFLINE")
    assert device.scan(ticket.token).green
    wifi.plug_in()
    eventually(lambda: device.state == "ONLINE")
    answer = device.scan(ticket.code)
    assert (answer.reason, answer.offline) == (DenialReason.ALREADY_CHECKED_IN, False)


def lose_answers(device) -> None:
    """From here on the service receives scans, and the device receives nothing: neither answers nor changes."""
    device.copy.stop()
    device.connection._receive = lambda *_: None  # noqa: SLF001 - the answer is lost after it was sent
    # On this stream no upload follows within 50 ms and replaces the record before a test has read it.
    device.connection._stream.next_upload = math.inf  # noqa: SLF001 - the next stream uploads


def hear_again(device, wifi) -> None:
    wifi.pull()
    del device.connection._receive  # noqa: SLF001 - as it was
    wifi.plug_in()
    eventually(lambda: device.store.queue_length() == 0)


def recorded(office, event_id, scan_id) -> tuple[int, bool] | None:
    return next(
        ((scan.verdict, scan.offline) for scan in office.scans(event_id) if scan.scan_id == scan_id),
        None,
    )


def test_recorded_as_denied_but_shown_green_is_recorded_as_shown_and_an_incident(copy, wifi, office, new_handheld):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    device = new_handheld(wifi.address, event_id, "north", answer_seconds=0.3).connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == 1)
    lose_answers(device)
    office.refund(ticket)
    answer = device.scan(ticket.token)
    assert answer.green
    eventually(lambda: recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_DENIED, False))
    hear_again(device, wifi)
    assert recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_ADMITTED, True)
    incident = (scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION, str(ticket.ticket_id), 1)
    assert office.incidents(event_id) == [incident]


def test_recorded_as_admitted_but_shown_red_is_recorded_as_shown_and_the_ticket_is_good(
    copy, wifi, office, scan_service, new_handheld
):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    south = new_handheld(scan_service, event_id, "south").connect()
    north = new_handheld(wifi.address, event_id, "north", answer_seconds=0.3).connect().follow()
    first = south.scan(ticket.token)
    assert first.green
    eventually(lambda: (known := north.store.ticket(event_id, ticket.ticket_id)) and known.admission.inside)
    lose_answers(north)
    # The north does not hear that the person did not pass; the service does, on another stream than the north's next scan.
    assert south.device.take_back().annulled
    eventually(
        lambda: [scan.scan_id for scan in office.scans(event_id) if scan.HasField("annul_time")] == [first.scan_id]
    )
    answer = north.scan(ticket.token)
    assert answer.reason is DenialReason.ALREADY_CHECKED_IN
    eventually(lambda: recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_ADMITTED, False))
    hear_again(north, wifi)
    assert recorded(office, event_id, answer.scan_id) == (scan_pb2.VERDICT_DENIED, True)
    assert office.incidents(event_id) == []
    assert south.scan(ticket.token).green
