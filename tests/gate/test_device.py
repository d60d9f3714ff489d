"""One device at a gate of the real scan service."""

from ticketing.admission.scans import DenialReason


def test_second_scan_is_denied_with_the_first_one(database, scan_service, new_handheld):
    event_id = database.event()
    ticket = database.ticket(event_id)
    handheld = new_handheld(scan_service, event_id).connect()
    first, second = handheld.scan(ticket.token), handheld.scan(ticket.token)
    assert (first.may_pass, first.offline, first.reason) == (True, False, None)
    assert (second.may_pass, second.reason) == (False, DenialReason.ALREADY_CHECKED_IN)
    assert second.previous.location == "one"
    assert handheld.shown == [first, second]
    assert handheld.connection.status.event_name == "Concert"


def test_typed_code_is_admitted_online(database, scan_service, new_handheld):
    event_id = database.event()
    ticket = database.ticket(event_id)
    assert new_handheld(scan_service, event_id).connect().scan(ticket.code).may_pass


def test_text_that_is_no_ticket_is_denied(database, scan_service, new_handheld):
    event_id = database.event()
    handheld = new_handheld(scan_service, event_id).connect()
    assert handheld.scan("4006381333931").reason is DenialReason.TICKET_NOT_FOUND
