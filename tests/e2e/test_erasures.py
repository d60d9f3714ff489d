"""An erased person is in neither database, and gates decide as before."""

import uuid
from contextlib import closing

import grpc
import pytest
from sqlalchemy.engine import URL

from dev.clients import GateClient
from tests.e2e.service_pair import ServicePair, buy, new_gate, on_sale, purchase_request
from tests.environment.databases import columns_with
from tests.environment.waiting import eventually
from ticket_service.commands.audit import audit
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import erasure_service_pb2, ticket_service_pb2
from ticketing.tickets.v1.erasure_service_pb2_grpc import ErasureServiceStub

pytestmark = pytest.mark.slow

VERA, DORA, MAIL = "vera-4711", "dora-4711", "vera.erased@example.com"


def erase(pair: ServicePair, user_id: str) -> erasure_service_pb2.Erasure:
    channel = pair.stack.enter_context(grpc.insecure_channel(pair.address("TICKETS")))
    request = erasure_service_pb2.EraseRequest(user_id=user_id)
    return ErasureServiceStub(channel).Erase(request, metadata=pair.issuer.metadata("service", "shop")).erasure


def test_gates_decide_as_before_an_erasure(pair: ServicePair, tickets_url: URL, scans_url: URL) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    shop = pair.caller("service", "shop")
    request = purchase_request(event, quantity=3, user_id=VERA)
    request.email = MAIL
    request.metadata.update({"name": MAIL})
    inside, outside, cancelled = shop.ask(shop.purchases.PurchaseTickets, request).purchase.tickets
    with closing(new_gate(pair, event.event_id)):
        pass
    with closing(GateClient(pair.caller("scanner", DORA), event.event_id)) as gate:
        assert gate.scan(inside.token).verdict == scan_pb2.VERDICT_ADMITTED
        vera = pair.caller("user", VERA)
        cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=cancelled.ticket_id)
        vera.ask(vera.tickets.CancelTicket, cancel)
        assert erase(pair, VERA).status == erasure_service_pb2.ERASURE_STATUS_COMPLETE
        assert gate.scan(inside.code).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
        assert gate.scan(outside.code).verdict == scan_pb2.VERDICT_ADMITTED
        assert gate.scan(cancelled.token).verdict == scan_pb2.VERDICT_DENIED
    erased = erase(pair, DORA)
    assert (erased.status, erased.scans) == (erasure_service_pb2.ERASURE_STATUS_COMPLETE, 4)
    for url in (tickets_url, scans_url):
        assert columns_with(url, VERA, DORA, MAIL) == set()
    assert audit(tickets_url) == 0


def test_an_erasure_waits_for_the_scan_service(pair: ServicePair, tickets_url: URL) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    buy(pair.caller("service", "shop"), event, user_id=VERA)
    pair.stop("scan_service")
    assert erase(pair, VERA).status == erasure_service_pb2.ERASURE_STATUS_ERASING_SCANS
    pair.start("scan_service")
    eventually(lambda: columns_with(tickets_url, VERA), set())
    assert uuid.UUID(erase(pair, VERA).erasure_id)
