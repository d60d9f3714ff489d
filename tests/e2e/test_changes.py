"""What changes about a ticket or an event holds at the gates when the caller is told."""

import uuid
from contextlib import closing

from e2e.pair import Pair, buy, eventually, new_gate, on_sale

from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_service_pb2, ticket_pb2, ticket_service_pb2


def test_the_old_code_is_dead_at_every_gate_before_a_transfer_returns(pair: Pair) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    old = buy(pair.caller("service", "shop"), event).tickets[0]
    bob, carol = pair.caller("user", "bob"), pair.caller("user", "carol")
    with closing(new_gate(pair, event.event_id)) as gate:
        request = ticket_service_pb2.TransferTicketRequest(
            ticket_id=old.ticket_id, user_id="carol", request_id=str(uuid.uuid4())
        )
        told = bob.ask(bob.tickets.TransferTicket, request).ticket
        assert (told.user_id, told.code, told.token) == ("carol", "", "")
        assert gate.scan(old.token).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
        assert gate.scan(old.code).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
        get = ticket_service_pb2.GetTicketRequest(ticket_id=old.ticket_id)
        new = carol.ask(carol.tickets.GetTicket, get).ticket
        assert gate.scan(new.token).verdict == scan_pb2.VERDICT_ADMITTED
        assert gate.scan(new.code).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN

        # Somebody inside may have a new code; what was admitted stays admitted.
        again = ticket_service_pb2.ReissueTicketRequest(ticket_id=old.ticket_id, request_id=str(uuid.uuid4()))
        newest = carol.ask(carol.tickets.ReissueTicket, again).ticket
        assert gate.scan(new.token).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
        assert gate.scan(newest.token).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN


def test_gates_deny_before_calling_off_returns_and_everybody_outside_is_refunded(pair: Pair) -> None:
    organizer = pair.caller("organizer", "alice")
    event = on_sale(organizer)
    inside, *_ = buy(pair.caller("service", "shop"), event, quantity=3).tickets
    with closing(new_gate(pair, event.event_id)) as gate:
        assert gate.scan(inside.token).verdict == scan_pb2.VERDICT_ADMITTED
        outside = buy(pair.caller("service", "shop"), event).tickets[0]
        cancel = event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="storm")
        assert organizer.ask(organizer.events.CancelEvent, cancel).gates_closed
        assert gate.scan(outside.token).verdict == scan_pb2.VERDICT_DENIED

    def sales() -> dict[int, tuple[int, int]]:
        request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
        lines = organizer.ask(organizer.events.GetEventSales, request).lines
        return {line.status: (line.tickets, line.refunded.minor_units) for line in lines}

    eventually(sales, {ticket_pb2.TICKET_STATUS_USED: (1, 0), ticket_pb2.TICKET_STATUS_REFUNDED: (3, 7_500)})
