"""FindTickets: what a gate may find, and the record of it."""

from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from tests.environment.access import PEER_METADATA
from tests.environment.messages import at
from tests.environment.refusals import fields_at_fault, refusal
from tests.environment.serving import running
from tests.selling.shop import Shop, new_id
from ticket_service.app import App
from ticket_service.store import look_ups
from ticketing.options.v1 import options_pb2
from ticketing.tickets.v1 import change_pb2, change_service_pb2, ticket_service_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub


@pytest.fixture
async def service(make_settings, tickets_url, clock, scans):
    """Run a ticket service with a scan service, which a transfer needs."""
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}")
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


def named(name: str) -> Struct:
    metadata = Struct()
    metadata.update({"holder_name": name})
    return metadata


@pytest.fixture
def find(channel):
    """Look up as the scan service does."""
    stub = TicketFeedServiceStub(channel)

    async def ask(event_id: str, query: str, **changes: Any) -> pb.FindTicketsResponse:
        usual = {"event_id": event_id, "query": query, "caller": "device-1", "location": "North 3"}
        request = pb.FindTicketsRequest(**{**usual, "roles": [options_pb2.ROLE_DEVICE], **changes})
        return await stub.FindTickets(request, metadata=PEER_METADATA)

    return ask


async def open_event(shop: Shop, **changes: Any) -> str:
    return (await shop.on_sale(allow_gate_look_up=True, **changes)).event_id


async def bought(shop: Shop, event_id: str, name: str, email: str = "", **changes: Any) -> Any:
    changes = {"metadata": named(name), "email": email, "user_id": "alice", **changes}
    return await shop.buy(event_id, Shop.BACKEND, **changes)


@pytest.mark.parametrize(
    "query",
    [
        *("Schmidt", "anna s", "MÜLLER", "mu\N{COMBINING DIAERESIS}ll", "schmidt-müller anna"),
        *("anna.s", "ANNA.SCHMIDT@example.com", "alice"),
    ],
)
async def test_a_ticket_is_found_by_name_address_or_user(shop, find, query):
    event_id = await open_event(shop)
    purchase = await bought(shop, event_id, "Anna Schmidt-Müller", "anna.schmidt@example.com")
    await bought(shop, event_id, "Bob Jones", "bob@example.com", user_id="bob")
    found = await find(event_id, query)
    assert [ticket.ticket_id for ticket in found.tickets] == [purchase.tickets[0].ticket_id]
    assert found.tickets[0].holder == "Anna S…, an…@example.com"
    assert found.tickets[0].issue == 1
    assert not found.more


async def test_tickets_are_found_by_the_purchase_or_its_end(shop, find):
    event_id = await open_event(shop)
    purchase = await bought(shop, event_id, "", quantity=2)
    for query in (purchase.purchase_id, purchase.purchase_id.upper(), purchase.purchase_id[-8:]):
        found = await find(event_id, query)
        assert {one.ticket_id for one in found.tickets} == {one.ticket_id for one in purchase.tickets}


@pytest.mark.parametrize("query", ["%%%", "___", "chmidt", "\\\\\\", "---", "example.com", "' OR 1=1"])
async def test_other_texts_find_nothing(shop, find, query):
    event_id = await open_event(shop)
    await bought(shop, event_id, "Anna Schmidt", "anna@example.com")
    found = await find(event_id, query)
    assert (found.allowed, list(found.tickets)) == (True, [])


async def test_a_name_with_signs_of_a_pattern_is_found_by_them(shop, find):
    event_id = await open_event(shop)
    await bought(shop, event_id, "100%_sure")
    assert len((await find(event_id, "100%_")).tickets) == 1
    assert not (await find(event_id, "100_")).tickets


async def test_a_look_up_stays_within_its_event(shop, find):
    event_id, other = await open_event(shop), await open_event(shop)
    await bought(shop, other, "Anna Schmidt", "anna@example.com")
    assert not (await find(event_id, "anna")).tickets
    assert len((await find(other, "anna")).tickets) == 1


async def test_a_ticket_belongs_to_its_holder_after_a_transfer(shop, find, channel):
    event_id = await open_event(shop)
    purchase = await bought(shop, event_id, "Anna Schmidt", "anna@example.com")
    request = ticket_service_pb2.TransferTicketRequest(
        ticket_id=purchase.tickets[0].ticket_id, request_id=new_id(), user_id="bob", email="Bob@example.com"
    )
    await TicketServiceStub(channel).TransferTicket(request, metadata=shop.metadata())
    assert not (await find(event_id, "anna")).tickets
    for query in ("bob@", "bob", purchase.purchase_id):
        [found] = (await find(event_id, query)).tickets
        assert (found.issue, found.holder) == (2, "Bo…@example.com")


async def test_twenty_tickets_are_returned_and_more_are_reported(shop, find):
    event_id = await open_event(shop)
    await bought(shop, event_id, "Anna Schmidt", quantity=20)
    assert [len((found := await find(event_id, "anna")).tickets), found.more] == [20, False]
    await bought(shop, event_id, "Anna Jones")
    assert [len((found := await find(event_id, "anna")).tickets), found.more] == [20, True]


async def test_tickets_that_were_not_checked_in_come_first(shop, find, channel, clock):
    event_id = await open_event(shop)
    purchase = await bought(shop, event_id, "Anna Schmidt", quantity=3)
    oldest, *used = [ticket.ticket_id for ticket in purchase.tickets]
    report = pb.ReportCheckInsRequest(
        check_ins=[pb.CheckIn(event_id=event_id, ticket_id=one, check_in_time=at(clock()), sequence=1) for one in used]
    )
    await TicketFeedServiceStub(channel).ReportCheckIns(report, metadata=PEER_METADATA)
    found = await find(event_id, "anna")
    assert [ticket.ticket_id for ticket in found.tickets] == [oldest, *used[::-1]]


async def test_look_ups_are_off_until_the_organizer_allows_them(shop, find, changes):
    event = await shop.on_sale()
    await bought(shop, event.event_id, "Anna Schmidt")
    assert (await find(event.event_id, "anna")) == pb.FindTicketsResponse(allowed=False)
    assert (await find(new_id(), "anna")) == pb.FindTicketsResponse(allowed=False)
    assert not await changes(event.event_id)
    event.allow_gate_look_up = True
    assert (await shop.update(event, "allow_gate_look_up")).allow_gate_look_up
    assert len((await find(event.event_id, "anna")).tickets) == 1
    event = await shop.get(event.event_id)
    event.allow_gate_look_up = False
    await shop.update(event, "allow_gate_look_up")
    assert not (await find(event.event_id, "anna")).allowed


@pytest.fixture
def changes(channel, shop):
    """Read the look-ups of an event in the audit trail."""

    async def read(event_id: str) -> list[change_pb2.Change]:
        request = change_service_pb2.ListChangesRequest(event_id=event_id)
        answer = await ChangeServiceStub(channel).ListChanges(request, metadata=shop.metadata(Shop.OLGA))
        return [one for one in answer.changes if one.kind == change_pb2.CHANGE_KIND_TICKETS_LOOKED_UP]

    return read


async def test_each_look_up_is_recorded_without_its_text(shop, find, changes):
    event_id = await open_event(shop)
    await bought(shop, event_id, "Anna Schmidt", quantity=2)
    await find(event_id, "anna")
    await find(event_id, "nobody", caller="sam", roles=[options_pb2.ROLE_SCANNER], location="South")
    last, first = await changes(event_id)
    assert (first.caller, list(first.roles), MessageToDict(first.details)) == (
        "device-1",
        ["device"],
        {"location": "North 3", "results": 2.0},
    )
    assert (last.caller, list(last.roles), MessageToDict(last.details)) == (
        "sam",
        ["scanner"],
        {"location": "South", "results": 0.0},
    )
    assert "anna" not in str(first).lower()


async def test_a_search_that_takes_too_long_is_ended(shop, find, changes, monkeypatch):
    event_id = await open_event(shop)
    monkeypatch.setattr(look_ups, "_FIND", sa.text("SELECT pg_sleep(60), :event_id, :text, :exact"))
    monkeypatch.setattr(look_ups, "SEARCH_MILLISECONDS", 50)
    answer = await refusal(find(event_id, "anna"))
    assert (answer.reason, answer.retry_seconds) == ("OVERLOADED", 5)
    assert not await changes(event_id)


async def test_every_field_at_fault_is_named(find):
    assert set(await fields_at_fault(find("x", "ab", caller="", location="x" * 101))) == {
        *("event_id", "query", "caller", "location")
    }
