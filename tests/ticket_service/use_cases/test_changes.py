"""The audit trail: each change with its caller, in the transaction of the change."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf import json_format
from sqlalchemy.engine import URL

from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.selling.shop import Shop, money, new_id
from ticket_service.app import App
from ticketing.tickets.v1 import change_pb2, change_service_pb2, event_service_pb2, ticket_service_pb2
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

PRICE = 2_500
REQUEST_ID = ("x-request-id", "req-1")
OTTO = ("organizer", "otto")


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock, scans):
    """Run a ticket service with a scan service."""
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}")
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


@pytest.fixture
def service_of_tickets(channel) -> TicketServiceStub:
    return TicketServiceStub(channel)


@pytest.fixture
def trail(channel, shop: Shop):
    """Read the audit trail, oldest first."""

    async def read(by: tuple[str, str] = Shop.OLGA, **query: Any) -> list[change_pb2.Change]:
        request = change_service_pb2.ListChangesRequest(page_size=100, **query)
        answer = await ChangeServiceStub(channel).ListChanges(request, metadata=shop.metadata(by))
        return list(answer.changes)[::-1]

    return read


def kinds(changes: list[change_pb2.Change]) -> list[str]:
    return [change_pb2.ChangeKind.Name(one.kind).removeprefix("CHANGE_KIND_") for one in changes]


async def test_every_change_of_a_caller_is_recorded(shop, service_of_tickets, trail):
    tickets = service_of_tickets
    event = await shop.on_sale(ticket_price=money(PRICE))
    event.location, event.description = "Big hall", "Louder"
    await shop.update(event, "location", "description")
    paid = await shop.report_payment(await shop.buy(event.event_id, quantity=3), "pay-1")
    await shop.release(await shop.buy(event.event_id))
    first, second, third = (ticket.ticket_id for ticket in paid.tickets)
    by = (*shop.metadata(Shop.OLGA), REQUEST_ID)
    for blocked in (True, True, False):
        request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=first, blocked=blocked)
        await tickets.SetTicketBlocked(request, metadata=by)
    reissue = ticket_service_pb2.ReissueTicketRequest(ticket_id=first, request_id=new_id())
    for _ in range(2):
        await tickets.ReissueTicket(reissue, metadata=shop.metadata())
    transfer = ticket_service_pb2.TransferTicketRequest(
        ticket_id=second, request_id=new_id(), user_id="bob", email="bob@example.com"
    )
    await tickets.TransferTicket(transfer, metadata=shop.metadata())
    cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=third, reason="Ill")
    cancelled = (await tickets.CancelTicket(cancel, metadata=shop.metadata())).cancellation
    confirm = ticket_service_pb2.ConfirmRefundRequest(cancellation_id=cancelled.cancellation_id, refund_id="refund-1")
    for _ in range(2):
        await tickets.ConfirmRefund(confirm, metadata=shop.metadata(Shop.BACKEND))
    await shop.events.CancelEvent(
        event_service_pb2.CancelEventRequest(event_id=event.event_id, reason="Rain"),
        metadata=shop.metadata(Shop.OLGA),
    )
    changes = await trail(event_id=event.event_id)
    # A repetition that changes nothing is not recorded.
    assert [(kind, one.caller) for kind, one in zip(kinds(changes), changes, strict=True)] == [
        ("EVENT_CREATED", "olga"),
        ("EVENT_PUBLISHED", "olga"),
        ("EVENT_UPDATED", "olga"),
        ("PAYMENT_CONFIRMED", "shop"),
        ("PURCHASE_RELEASED", "alice"),
        ("TICKET_BLOCKED", "olga"),
        ("TICKET_UNBLOCKED", "olga"),
        ("REISSUE_REQUESTED", "alice"),
        ("TRANSFER_REQUESTED", "alice"),
        ("CANCELLATION_REQUESTED", "alice"),
        ("REFUND_CONFIRMED", "shop"),
        ("EVENT_CANCELLED", "olga"),
    ]
    blocked = changes[5]
    assert (blocked.ticket_id, blocked.purchase_id, list(blocked.roles)) == (first, paid.purchase_id, ["organizer"])
    assert (blocked.request_id, blocked.create_time.ToJsonString()) == ("req-1", event.create_time.ToJsonString())
    assert json_format.MessageToDict(changes[2].details) == {
        "changed": {"location": {"from": "", "to": "Big hall"}, "description": {}}
    }
    assert json_format.MessageToDict(changes[9].details)["minor_units"] == PRICE
    assert "bob" not in str(changes)


async def test_a_refused_change_leaves_no_record(shop, service_of_tickets, trail):
    event = await shop.on_sale()
    request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=new_id(), blocked=True)
    await refusal(service_of_tickets.SetTicketBlocked(request, metadata=shop.metadata(Shop.OLGA)))
    await refusal(shop.publish(event.event_id, OTTO))
    assert kinds(await trail()) == ["EVENT_CREATED", "EVENT_PUBLISHED"]


async def test_organizers_read_the_changes_of_their_own_events(shop, trail):
    hers, his = await shop.create(), await shop.create(OTTO)
    assert [one.event_id for one in await trail()] == [hers.event_id]
    assert await trail(event_id=his.event_id) == []
    assert [one.event_id for one in await trail(Shop.BACKEND)] == [hers.event_id, his.event_id]
    assert [one.caller for one in await trail(Shop.BACKEND, caller="otto")] == ["otto"]
    assert (await refusal(trail(Shop.ALICE))).reason == "FORBIDDEN"


async def test_changes_are_filtered_by_purchase_and_ticket(shop, service_of_tickets, trail):
    event = await shop.on_sale()
    bought = [await shop.buy(event.event_id, quantity=2) for _ in range(2)]
    for ticket in (*bought[0].tickets, *bought[1].tickets):
        request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=True)
        await service_of_tickets.SetTicketBlocked(request, metadata=shop.metadata(Shop.OLGA))
    of_purchase = await trail(purchase_id=bought[0].purchase_id)
    assert [one.ticket_id for one in of_purchase] == [ticket.ticket_id for ticket in bought[0].tickets]
    assert len(await trail(ticket_id=bought[1].tickets[0].ticket_id)) == 1


async def test_pages_of_changes_continue_where_the_last_one_ended(shop, channel):
    made = [await shop.create() for _ in range(5)]
    stub, found, token = ChangeServiceStub(channel), [], ""
    while True:
        request = change_service_pb2.ListChangesRequest(page_size=2, page_token=token)
        page = await stub.ListChanges(request, metadata=shop.metadata(Shop.OLGA))
        found += [change.event_id for change in page.changes]
        token = page.next_page_token
        if not token:
            break
    assert found == [event.event_id for event in reversed(made)]


@pytest.fixture
async def full_trail(database) -> AsyncIterator[None]:
    """Let the database refuse the record of a publication."""

    async def alter(action: str) -> None:
        statement = sa.text(f"ALTER TABLE changes {action}")
        await database.run(lambda connection: connection.execute(statement))

    await alter("ADD CONSTRAINT no_room CHECK (kind <> 'EVENT_PUBLISHED') NOT VALID")
    yield
    await alter("DROP CONSTRAINT no_room")


@pytest.mark.usefixtures("full_trail")
async def test_a_record_and_its_change_commit_together(shop, trail):
    event = await shop.create()
    assert (await refusal(shop.publish(event.event_id))).code.name == "INTERNAL"
    assert (await shop.get(event.event_id, Shop.OLGA)).status == event.status
    assert kinds(await trail()) == ["EVENT_CREATED"]
