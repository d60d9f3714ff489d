"""Run a ticket service over a real socket and a real database, and compare its answers with the model's."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC
from typing import Any

import grpc
import grpc.aio

from tests.environment.access import Issuer
from tests.environment.messages import at
from tests.environment.refusals import refusal_of
from tests.selling.model import Line, Purchase, Refused, SalesModel, Ticket
from tests.selling.shop import Shop, money
from tests.stand_ins.revocations import ScansStandIn
from ticket_service.app import App
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.reissues import Reissues
from ticketing.chassis.tasks import Sweepable
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub


class StillApp(App):
    """A ticket service whose sweepers run only when a test calls them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.unfinished: list[Sweepable] = []

    def _sweep(self, name: str, work: Sweepable, interval_seconds: float | None = None) -> None:
        # Work with an interval of its own (the signing keys) is no unfinished work.
        if interval_seconds is None:
            self.unfinished.append(work)


class World:
    """A ticket service, the stand-ins that it calls, and clients of it."""

    def __init__(self, clock: Any) -> None:
        self.clock, self.began = clock, clock.now
        self.scans = ScansStandIn()
        self.answers = Counter[str]()
        # The loop runs only during `run`.
        self._loop = asyncio.new_event_loop()
        # Calls are created outside of the loop, and gRPC looks the loop up then.
        asyncio.set_event_loop(self._loop)
        self._opened = AsyncExitStack()

    async def open(self, new_app: Callable[[str], StillApp], issuer: Issuer) -> None:
        """Start everything; `new_app` creates a service for a scan service's address."""
        self._opened.push_async_callback(self.scans.stop)
        self.app = new_app(f"127.0.0.1:{await self.scans.start()}")
        self._opened.push_async_callback(self.app.stop)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{await self.app.start()}")
        await self._opened.enter_async_context(channel)
        self.shop = Shop(channel, issuer, self.began)
        self.tickets = TicketServiceStub(channel)
        self.feed = TicketFeedServiceStub(channel)
        self.backend, self.organizer = self.shop.metadata(Shop.BACKEND), self.shop.metadata(Shop.OLGA)

    def run(self, work: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._opened.aclose())
        asyncio.set_event_loop(None)
        self._loop.close()

    async def sweep(self) -> None:
        """Run every sweeper until nothing is due, in a fixed order."""
        for kind in (Cancellations, Reissues, Holds, EventCancellations):
            [work] = [work for work in self.app.unfinished if isinstance(work, kind)]
            while await work.sweep():
                pass

    async def look(self, event_id: str, model: SalesModel) -> None:
        """Compare the event's status, places and sales."""
        now = self.clock.now
        event = await self.shop.get(event_id, Shop.OLGA)
        assert event_pb2.EventStatus.Name(event.status) == f"EVENT_STATUS_{model.status(now)}"
        assert event.current_participants == model.reserved()
        if model.max_participants is not None:
            assert event.available_tickets == model.max_participants - model.reserved()
        reserved = {event_pb2.TicketType.Name(offer.ticket_type): offer.reserved for offer in event.offers}
        assert reserved == {f"TICKET_TYPE_{kind}": model.reserved(kind) for kind in model.lines}
        request = event_service_pb2.GetEventSalesRequest(event_id=event_id)
        sales = await self.shop.events.GetEventSales(request, metadata=self.organizer)
        assert (sales.refunds_pending, sales.refunds_failed) == (model.refunds_pending(), 0)
        assert {
            (name_of(line.ticket_type), ticket_status(line.status)): (
                line.tickets,
                line.paid.minor_units,
                line.refunded.minor_units,
            )
            for line in sales.lines
        } == model.sales(now)

    async def read(self, purchase: Purchase, model: SalesModel) -> None:
        """Read a purchase and compare it and its tickets."""
        request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase.id)
        answer = await self.shop.purchases.GetPurchase(request, metadata=self.backend)
        self.compare_purchase(answer.purchase, purchase, model)

    async def read_ticket(self, ticket: Ticket) -> ticket_pb2.Ticket:
        request = ticket_service_pb2.GetTicketRequest(ticket_id=ticket.id)
        found: ticket_pb2.Ticket = (await self.tickets.GetTicket(request, metadata=self.backend)).ticket
        return found

    def compare_purchase(self, answer: purchase_pb2.Purchase, purchase: Purchase, model: SalesModel) -> None:
        """Compare a purchase in an answer; a new purchase of the model takes its ids from the answer."""
        purchase.id = purchase.id or answer.purchase_id
        assert answer.purchase_id == purchase.id
        assert purchase_pb2.PurchaseStatus.Name(answer.status) == f"PURCHASE_STATUS_{purchase.status}"
        assert (answer.user_id, answer.total.minor_units) == (purchase.buyer, purchase.total)
        assert answer.payment.payment_id == purchase.payment
        assert answer.HasField("hold_expire_time") == (purchase.status == "HELD")
        if purchase.status == "HELD":
            assert answer.hold_expire_time.ToDatetime(UTC) == purchase.expires
        assert len(answer.tickets) == len(purchase.tickets)
        for ticket, one in zip(purchase.tickets, answer.tickets, strict=True):
            ticket.id = ticket.id or one.ticket_id
            self.compare_ticket(one, ticket, model)

    def compare_ticket(self, answer: ticket_pb2.Ticket, ticket: Ticket, model: SalesModel) -> None:
        assert answer.ticket_id == ticket.id
        assert ticket_status(answer.status) == model.status_of(ticket, self.clock.now)
        assert (name_of(answer.ticket_type), answer.price_paid.minor_units) == (ticket.kind, ticket.price)
        assert (answer.user_id, answer.issue) == (ticket.holder, ticket.issue)
        assert bool(answer.cancellation_id) == bool(ticket.cancellation)
        check_in_time = answer.check_in_time.ToDatetime(UTC) if answer.HasField("check_in_time") else None
        assert check_in_time == ticket.reported


async def answer_of(call: Any) -> Any:
    """Return the answer or the refusal of a call."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


def refusal_by(say: Callable[[], Any]) -> Refused | None:
    try:
        say()
    except Refused as refused:
        return refused
    return None


def offer(kind: str, line: Line) -> event_pb2.TicketOffer:
    """Build the message of a line of the price list."""
    message = event_pb2.TicketOffer(
        ticket_type=event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}"),
        price=money(line.price),
        capacity=line.capacity,
        max_per_purchase=line.max_per_purchase,
    )
    if line.sales_end is not None:
        message.sales_end_time.CopyFrom(at(line.sales_end))
    return message


def name_of(kind: "event_pb2.TicketType.ValueType") -> str:
    return event_pb2.TicketType.Name(kind).removeprefix("TICKET_TYPE_")


def ticket_status(status: "ticket_pb2.TicketStatus.ValueType") -> str:
    return ticket_pb2.TicketStatus.Name(status).removeprefix("TICKET_STATUS_")
