"""Each RPC that changes something is in the audit trail with its caller; a new RPC fails this test until it is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from sqlalchemy.engine import URL

from tests.environment.access import PEER_METADATA
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import Shop, money, new_id
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, KEY, SECURE, StripeStandIn
from ticket_service.adapters import scans as adapters_scans
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.app import App
from ticketing.tickets.v1 import (
    change_pb2,
    change_service_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_pb2,
)
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

PRICE: Final = 2_500
SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"],
    event_service_pb2.DESCRIPTOR.services_by_name["EventService"],
    purchase_service_pb2.DESCRIPTOR.services_by_name["PurchaseService"],
    pb.DESCRIPTOR.services_by_name["TicketService"],
    ticket_feed_service_pb2.DESCRIPTOR.services_by_name["TicketFeedService"],
)
READING: Final = ("Get", "List", "Render", "Preview", "Watch")
# Their own rows say who and when: a purchase has its buyer, and the scan service reports its own records.
NOT_RECORDED: Final = frozenset({"PurchaseTickets", "ReportCheckIns", "ReportDevices", "ReportIncidents"})


@dataclass
class Calls:
    """The calls of the test, and what they need."""

    shop: Shop
    tickets: Any
    changes: Any
    feed: Any
    stripe: StripeStandIn

    async def sold(self) -> tuple[str, ticket_pb2.Ticket]:
        """Sell a ticket by card; return the ids of its event and of its ticket."""
        event = await self.shop.on_sale(ticket_price=money(PRICE))
        bought = await self.shop.buy(event.event_id, payment_method_id=CARD)
        return event.event_id, bought.tickets[0]

    async def held(self, **changes: Any) -> tuple[str, Any]:
        event = await self.shop.on_sale(ticket_price=money(PRICE))
        return event.event_id, await self.shop.buy(event.event_id, **changes)

    async def last(self, event_id: str) -> tuple[str, str]:
        """Return the kind and the caller of the last change of an event."""
        request = change_service_pb2.ListChangesRequest(event_id=event_id, page_size=1)
        answer = await self.changes.ListChanges(request, metadata=self.shop.metadata(Shop.OLGA))
        kind = change_pb2.ChangeKind.Name(answer.changes[0].kind).removeprefix("CHANGE_KIND_")
        return kind, answer.changes[0].caller


# Makes one call; returns the id of the event.
Call = Callable[[Calls], Awaitable[str]]


async def create_event(calls: Calls) -> str:
    return (await calls.shop.create()).event_id


async def update_event(calls: Calls) -> str:
    event = await calls.shop.create()
    event.location = "Big hall"
    return (await calls.shop.update(event, "location")).event_id


async def publish_event(calls: Calls) -> str:
    return (await calls.shop.on_sale()).event_id


async def cancel_event(calls: Calls) -> str:
    event = await calls.shop.on_sale()
    request = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await calls.shop.events.CancelEvent(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event.event_id


async def confirm_purchase(calls: Calls) -> str:
    event_id, held = await calls.held()
    await calls.shop.report_payment(held, f"pay-{held.purchase_id}")
    return event_id


async def release_purchase(calls: Calls) -> str:
    event_id, held = await calls.held()
    await calls.shop.release(held)
    return event_id


async def release_charged_purchase(calls: Calls) -> str:
    event_id, held = await calls.held(payment_method_id=SECURE)
    await calls.shop.release(held)
    return event_id


async def correct_email(calls: Calls) -> str:
    event_id, held = await calls.held(email="alise@example.com")
    request = purchase_service_pb2.CorrectEmailRequest(
        request_id=new_id(), purchase_id=held.purchase_id, email="alice@example.com"
    )
    await calls.shop.purchases.CorrectEmail(request, metadata=calls.shop.metadata())
    return event_id


async def cancel_ticket(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    await calls.tickets.CancelTicket(pb.CancelTicketRequest(ticket_id=ticket.ticket_id), metadata=calls.shop.metadata())
    return event_id


async def cancel_ticket_with_an_amount(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id, refund_amount=money(PRICE))
    await calls.tickets.CancelTicket(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event_id


async def refused(calls: Calls) -> tuple[str, str]:
    """Cancel a ticket whose refund Stripe refuses; return the ids of the event and of the cancellation."""
    event_id, ticket = await calls.sold()
    calls.stripe.refuses_refunds = "the card is closed"
    request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
    answer = await calls.tickets.CancelTicket(request, metadata=calls.shop.metadata())
    get = pb.GetCancellationRequest(cancellation_id=answer.cancellation.cancellation_id)

    async def status() -> int:
        return (await calls.tickets.GetCancellation(get, metadata=calls.shop.metadata())).cancellation.status

    await until(status, ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED)
    calls.stripe.refuses_refunds = ""
    return event_id, answer.cancellation.cancellation_id


async def retry_refund(calls: Calls) -> str:
    event_id, cancellation_id = await refused(calls)
    request = pb.RetryRefundRequest(cancellation_id=cancellation_id)
    await calls.tickets.RetryRefund(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event_id


async def confirm_refund_by_hand(calls: Calls) -> str:
    event_id, cancellation_id = await refused(calls)
    request = pb.ConfirmRefundRequest(cancellation_id=cancellation_id, refund_id="transfer 7", paid_by_hand=True)
    await calls.tickets.ConfirmRefund(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event_id


async def refund_ticket(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    request = pb.RefundTicketRequest(request_id=new_id(), ticket_id=ticket.ticket_id, amount=money(1))
    await calls.tickets.RefundTicket(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event_id


async def reissue_ticket(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    request = pb.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=new_id())
    await calls.tickets.ReissueTicket(request, metadata=calls.shop.metadata())
    return event_id


async def transfer_ticket(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    request = pb.TransferTicketRequest(ticket_id=ticket.ticket_id, request_id=new_id(), user_id="bob")
    await calls.tickets.TransferTicket(request, metadata=calls.shop.metadata())
    return event_id


async def block_ticket(calls: Calls) -> str:
    event_id, ticket = await calls.sold()
    request = pb.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=True)
    await calls.tickets.SetTicketBlocked(request, metadata=calls.shop.metadata(Shop.OLGA))
    return event_id


# By RPC: its calls, the kind of the record, and the caller.
async def find_tickets(calls: Calls) -> str:
    event = await calls.shop.on_sale(allow_gate_look_up=True)
    request = ticket_feed_service_pb2.FindTicketsRequest(event_id=event.event_id, query="anna", caller="device-1")
    await calls.feed.FindTickets(request, metadata=PEER_METADATA)
    return event.event_id


RECORDED: Final[dict[str, tuple[tuple[Call, ...], str, str]]] = {
    "CreateEvent": ((create_event,), "EVENT_CREATED", "olga"),
    "UpdateEvent": ((update_event,), "EVENT_UPDATED", "olga"),
    "PublishEvent": ((publish_event,), "EVENT_PUBLISHED", "olga"),
    "CancelEvent": ((cancel_event,), "EVENT_CANCELLED", "olga"),
    "ConfirmPurchase": ((confirm_purchase,), "PAYMENT_CONFIRMED", "shop"),
    "ReleasePurchase": ((release_purchase, release_charged_purchase), "PURCHASE_RELEASED", "alice"),
    "CorrectEmail": ((correct_email,), "EMAIL_CORRECTED", "alice"),
    "CancelTicket": ((cancel_ticket,), "CANCELLATION_REQUESTED", "alice"),
    "CancelTicket, with an amount": ((cancel_ticket_with_an_amount,), "CANCELLATION_REQUESTED", "olga"),
    "RetryRefund": ((retry_refund,), "REFUND_RETRIED", "olga"),
    "ConfirmRefund": ((confirm_refund_by_hand,), "REFUND_CONFIRMED", "olga"),
    "RefundTicket": ((refund_ticket,), "TICKET_REFUND_REQUESTED", "olga"),
    "ReissueTicket": ((reissue_ticket,), "REISSUE_REQUESTED", "alice"),
    "TransferTicket": ((transfer_ticket,), "TRANSFER_REQUESTED", "alice"),
    "SetTicketBlocked": ((block_ticket,), "TICKET_BLOCKED", "olga"),
    "FindTickets": ((find_tickets,), "TICKETS_LOOKED_UP", "device-1"),
}


def test_every_changing_rpc_is_tested_for_its_record() -> None:
    changing = {
        method.name
        for service in SERVICES
        for method in service.methods
        if not method.name.startswith(READING) and method.name not in NOT_RECORDED
    }
    assert {name.partition(",")[0] for name in RECORDED} == changing


@pytest.fixture
async def service(  # noqa: PLR0913, PLR0917 - what the service calls
    make_settings, tickets_url: URL, clock, stripe: StripeStandIn, scans: ScansStandIn, monkeypatch: pytest.MonkeyPatch
):
    """Run a ticket service that charges cards and whose sweeper runs every 100 ms."""
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)
    monkeypatch.setattr(adapters_scans, "CALL_SECONDS", 20.0)
    settings = make_settings(
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


@pytest.fixture
def calls(channel: grpc.aio.Channel, shop: Shop, stripe: StripeStandIn) -> Calls:
    feed = TicketFeedServiceStub(channel)
    return Calls(shop, TicketServiceStub(channel), ChangeServiceStub(channel), feed, stripe)


# One service for all RPCs: its start takes longer than the calls.
@pytest.mark.slow
async def test_each_changing_rpc_is_recorded_with_its_caller(calls: Calls) -> None:
    found = {
        (name, call.__name__): await calls.last(await call(calls))
        for name, (made, _, _) in RECORDED.items()
        for call in made
    }
    assert found == {
        (name, call.__name__): (kind, caller) for name, (made, kind, caller) in RECORDED.items() for call in made
    }
