"""A change of a ticket or an event is in force at every gate when the call returns."""

import signal
import uuid
from contextlib import closing

import pytest

from dev.clients import ApiClient
from tests.e2e.service_pair import ServicePair, buy, new_gate, on_sale
from tests.environment.waiting import eventually
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_service_pb2, ticket_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow


def test_gates_deny_the_old_code_before_a_transfer_returns(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    old = buy(pair.caller("service", "shop"), event).tickets[0]
    bob, carol = pair.caller("user", "bob"), pair.caller("user", "carol")
    with closing(new_gate(pair, event.event_id)) as gate:
        request = ticket_service_pb2.TransferTicketRequest(
            ticket_id=old.ticket_id, user_id="carol", request_id=str(uuid.uuid4())
        )
        transferred = bob.ask(bob.tickets.TransferTicket, request).ticket
        assert (transferred.user_id, transferred.code, transferred.token) == ("carol", "", "")
        assert gate.scan(old.token).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
        assert gate.scan(old.code).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
        get = ticket_service_pb2.GetTicketRequest(ticket_id=old.ticket_id)
        new = carol.ask(carol.tickets.GetTicket, get).ticket
        assert gate.scan(new.token).verdict == scan_pb2.VERDICT_ADMITTED
        assert gate.scan(new.code).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN

        # A holder who is checked in may get a new code, and the check-in remains.
        again = ticket_service_pb2.ReissueTicketRequest(ticket_id=old.ticket_id, request_id=str(uuid.uuid4()))
        newest = carol.ask(carol.tickets.ReissueTicket, again).ticket
        assert gate.scan(new.token).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
        assert gate.scan(newest.token).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN


def test_event_cancellation_closes_gates_and_refunds_tickets(pair: ServicePair) -> None:
    organizer = pair.caller("organizer", "alice")
    event = on_sale(organizer)
    inside, *_ = buy(pair.caller("service", "shop"), event, quantity=3).tickets
    with closing(new_gate(pair, event.event_id)) as gate:
        assert gate.scan(inside.token).verdict == scan_pb2.VERDICT_ADMITTED
        outside = buy(pair.caller("service", "shop"), event).tickets[0]
        cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="storm")
        assert organizer.ask(organizer.events.CancelEvent, cancel).gates_closed
        assert gate.scan(outside.token).verdict == scan_pb2.VERDICT_DENIED
    eventually(
        lambda: sales(organizer, event.event_id),
        {ticket_pb2.TICKET_STATUS_USED: (1, 0), ticket_pb2.TICKET_STATUS_REFUNDED: (3, 7_500)},
    )


def test_a_check_in_annulled_after_the_event_cancellation_is_refunded(pair: ServicePair) -> None:
    organizer = pair.caller("organizer", "alice")
    event = on_sale(organizer)
    stays, leaves = buy(pair.caller("service", "shop"), event, quantity=2).tickets
    with closing(new_gate(pair, event.event_id)) as gate:
        scans = [gate.scan(ticket.token) for ticket in (stays, leaves)]
        assert all(scan.verdict == scan_pb2.VERDICT_ADMITTED for scan in scans)
    eventually(lambda: sales(organizer, event.event_id), {ticket_pb2.TICKET_STATUS_USED: (2, 0)})
    preview = event_service_pb2.PreviewEventCancellationRequest(event_id=event.event_id)
    [line] = organizer.ask(organizer.events.PreviewEventCancellation, preview).lines
    assert (line.outcome, line.tickets) == (event_service_pb2.TICKET_OUTCOME_CHECKED_IN, 2)
    cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="storm")
    assert organizer.ask(organizer.events.CancelEvent, cancel).gates_closed
    annul = scan_service_pb2.AnnulScanRequest(scan_id=scans[1].scan_id)
    organizer.ask(organizer.scans.AnnulScan, annul)
    eventually(
        lambda: sales(organizer, event.event_id),
        {ticket_pb2.TICKET_STATUS_USED: (1, 0), ticket_pb2.TICKET_STATUS_REFUNDED: (1, 2_500)},
    )


def test_gates_deny_after_a_restart_once_the_event_was_cancelled(pair: ServicePair) -> None:
    organizer = pair.caller("organizer", "alice")
    event = on_sale(organizer)
    inside, outside = buy(pair.caller("service", "shop"), event, quantity=2).tickets
    with closing(new_gate(pair, event.event_id)) as gate:
        assert gate.scan(inside.token).verdict == scan_pb2.VERDICT_ADMITTED
    pair.stop("scan_service", signal.SIGKILL)
    cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="storm")
    assert not organizer.ask(organizer.events.CancelEvent, cancel).gates_closed
    pair.start("scan_service")
    door = pair.caller("scanner", "door")

    def verdict() -> int:
        # A scan would check the ticket in.
        request = scan_service_pb2.ValidateTicketRequest(
            gate=scan_pb2.Gate(event_id=event.event_id, location="North"), code=outside.token
        )
        return door.ask(door.scans.ValidateTicket, request).scan.verdict

    eventually(verdict, scan_pb2.VERDICT_DENIED)
    eventually(lambda: organizer.ask(organizer.events.CancelEvent, cancel).gates_closed, wanted=True)
    eventually(
        lambda: sales(organizer, event.event_id),
        {ticket_pb2.TICKET_STATUS_USED: (1, 0), ticket_pb2.TICKET_STATUS_REFUNDED: (1, 2_500)},
    )


def sales(organizer: ApiClient, event_id: str) -> dict[int, tuple[int, int]]:
    """Return the number of tickets and the refunded amount by status."""
    request = event_service_pb2.GetEventSalesRequest(event_id=event_id)
    lines = organizer.ask(organizer.events.GetEventSales, request).lines
    return {line.status: (line.tickets, line.refunded.minor_units) for line in lines}
