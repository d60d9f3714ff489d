"""GetTicketHolder of TicketFeedService: whose name a gate may show."""

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.environment.access import PEER_METADATA
from tests.environment.refusals import fields_at_fault
from tests.environment.serving import running
from tests.selling.shop import Shop, new_id
from ticket_service.app import App
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1 import ticket_service_pb2
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

UNKNOWN = pb.GetTicketHolderResponse(allowed=True)
REFUSED = pb.GetTicketHolderResponse(allowed=False)


@pytest.fixture
async def service(make_settings, tickets_url, clock, scans):
    """Run a ticket service with a scan service, which a transfer needs."""
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}")
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


@pytest.fixture
def holder(channel):
    """Ask for a name as the scan service does."""
    stub = TicketFeedServiceStub(channel)

    async def ask(event_id: str, ticket_id: str) -> pb.GetTicketHolderResponse:
        request = pb.GetTicketHolderRequest(event_id=event_id, ticket_id=ticket_id)
        return await stub.GetTicketHolder(request, metadata=PEER_METADATA)

    return ask


async def sold(shop: Shop, name: str = "Anna Schmidt", **changes: Any) -> tuple[str, str]:
    """Sell a ticket of a new event; return the event_id and the ticket_id."""
    event = await shop.on_sale(**{"show_holder_name": True, **changes})
    metadata = Struct()
    metadata.update({"holder_name": name} if name else {})
    purchase = await shop.buy(event.event_id, Shop.BACKEND, metadata=metadata, user_id="alice")
    return event.event_id, purchase.tickets[0].ticket_id


async def test_the_name_of_the_purchase_is_returned(shop, holder):
    assert await holder(*await sold(shop)) == pb.GetTicketHolderResponse(allowed=True, name="Anna Schmidt")
    assert await holder(*await sold(shop, name="")) == UNKNOWN


async def test_a_name_has_no_control_characters_and_sixty_characters(shop, holder):
    assert (await holder(*await sold(shop, name="Anna\n\x1b[2J  Schmidt"))).name == "Anna [2J Schmidt"
    assert len((await holder(*await sold(shop, name="x" * 500))).name) == 60
    # A Persian name keeps its zero-width non-joiner.
    assert (await holder(*await sold(shop, name="\u202eگل\u200cمن"))).name == "گل\u200cمن"


async def test_names_are_off_until_the_organizer_allows_them(shop, holder):
    event_id, ticket_id = await sold(shop, show_holder_name=False, allow_gate_look_up=True)
    assert await holder(event_id, ticket_id) == REFUSED
    assert await holder(new_id(), ticket_id) == REFUSED
    event = await shop.get(event_id)
    event.show_holder_name = True
    assert (await shop.update(event, "show_holder_name")).show_holder_name
    assert (await holder(event_id, ticket_id)).name == "Anna Schmidt"


async def test_a_ticket_of_another_event_has_no_name(shop, holder):
    event_id, _ = await sold(shop)
    _, other = await sold(shop)
    assert await holder(event_id, other) == UNKNOWN
    assert await holder(event_id, new_id()) == UNKNOWN


async def test_after_a_transfer_the_name_of_the_buyer_is_not_shown(shop, holder, channel):
    event_id, ticket_id = await sold(shop)
    tickets = TicketServiceStub(channel)
    reissue = ticket_service_pb2.ReissueTicketRequest(ticket_id=ticket_id, request_id=new_id())
    await tickets.ReissueTicket(reissue, metadata=shop.metadata())
    assert (await holder(event_id, ticket_id)).name == "Anna Schmidt"
    transfer = ticket_service_pb2.TransferTicketRequest(ticket_id=ticket_id, request_id=new_id(), user_id="bob")
    await tickets.TransferTicket(transfer, metadata=shop.metadata())
    assert await holder(event_id, ticket_id) == UNKNOWN


async def test_every_field_at_fault_is_named(holder):
    assert set(await fields_at_fault(holder("x", ""))) == {"event_id", "ticket_id"}
