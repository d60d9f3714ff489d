"""A group is bought at the ticket service and admitted by one scan at the scan service."""

import uuid

import pytest

from tests.e2e.service_pair import ServicePair, new_gate, on_sale, purchase_request
from tests.environment.waiting import eventually
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, money_pb2, ticket_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow

GROUP = event_pb2.TICKET_TYPE_GROUP


def test_a_purchase_of_group_tickets_is_admitted_by_one_scan(pair: ServicePair) -> None:
    organizer, shop, door = (
        pair.caller("organizer", "alice"),
        pair.caller("service", "shop"),
        pair.caller("scanner", "sam"),
    )
    price = money_pb2.Money(currency_code="EUR", minor_units=2_500)
    event = on_sale(organizer, offers=[event_pb2.TicketOffer(ticket_type=GROUP, price=price)])
    request = purchase_request(event, quantity=4)
    request.items[0].ticket_type = GROUP
    tickets = shop.ask(shop.purchases.PurchaseTickets, request).purchase.tickets

    def scan(token: str, count: int) -> scan_pb2.Scan:
        attempt = scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=token, group_count=count)
        gate = scan_pb2.Gate(event_id=event.event_id, location="North 3")
        asked = scan_service_pb2.ScanTicketRequest(gate=gate, attempt=attempt)
        return door.ask(door.scans.ScanTicket, asked).scan

    def used() -> set[str]:
        asked = ticket_service_pb2.ListTicketsRequest(event_id=event.event_id)
        listed = organizer.ask(organizer.tickets.ListTickets, asked).tickets
        return {ticket.ticket_id for ticket in listed if ticket.status == ticket_pb2.TICKET_STATUS_USED}

    new_gate(pair, event.event_id).close()
    # A count of five tells how many tickets of the group the feed has delivered, and admits nobody.
    eventually(lambda: scan(tickets[0].token, 5).group.left, 4)
    admitted = scan(tickets[3].token, 3)
    assert (admitted.group.left, admitted.group.inside, admitted.group.size) == (1, 3, 4)
    eventually(used, set(admitted.group.ticket_ids))
    annul = scan_service_pb2.AnnulScanRequest(scan_id=admitted.scan_id)
    organizer.ask(organizer.scans.AnnulScan, annul)
    eventually(used, set())
    assert scan(tickets[0].token, 4).verdict == scan_pb2.VERDICT_ADMITTED
