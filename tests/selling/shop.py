"""A client that calls a ticket service as organizers, buyers and backends do."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio

from tests.environment.access import Issuer
from tests.environment.messages import at
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    money_pb2,
    purchase_pb2,
    purchase_service_pb2,
    purchase_service_pb2_grpc,
)

STANDARD = event_pb2.TICKET_TYPE_STANDARD
VIP = event_pb2.TICKET_TYPE_VIP
GROUP = event_pb2.TICKET_TYPE_GROUP


def money(minor_units: int, currency: str = "EUR") -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, minor_units=minor_units)


def event(now: datetime, **changes: Any) -> event_pb2.Event:
    """Build the message of an event in ten days; `changes` are fields of it."""
    usual: dict[str, Any] = {
        "name": "Concert",
        "event_type": event_pb2.EVENT_TYPE_OTHER,
        "start_time": at(now + timedelta(days=10)),
        "end_time": at(now + timedelta(days=10, hours=4)),
        "ticket_price": money(0),
    }
    return event_pb2.Event(**{**usual, **changes})


def items(*quantities: tuple["event_pb2.TicketType.ValueType", int]) -> list[purchase_pb2.PurchaseItem]:
    """Build the items of a purchase from pairs of type and quantity."""
    return [purchase_pb2.PurchaseItem(ticket_type=kind, quantity=quantity) for kind, quantity in quantities]


class Shop:
    """A client of a ticket service; `by` is the role and the subject of a caller."""

    OLGA = ("organizer", "olga")
    ALICE = ("user", "alice")
    BACKEND = ("service", "shop")

    def __init__(self, channel: grpc.aio.Channel, issuer: Issuer, now: datetime | None = None) -> None:
        self.events = event_service_pb2_grpc.EventServiceStub(channel)
        self.purchases = purchase_service_pb2_grpc.PurchaseServiceStub(channel)
        self.now = now or datetime.now(UTC)
        self._issuer = issuer

    def metadata(self, by: tuple[str, str] = ALICE, **claims: Any) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call; its token expires after every time that a test sets."""
        return self._issuer.metadata(*by, **{"exp": self.now + timedelta(days=3650), **claims})

    async def create(self, by: tuple[str, str] = OLGA, **changes: Any) -> event_pb2.Event:
        request = event_service_pb2.CreateEventRequest(request_id=new_id(), event=event(self.now, **changes))
        return (await self.events.CreateEvent(request, metadata=self.metadata(by))).event

    async def publish(self, event_id: str, by: tuple[str, str] = OLGA) -> event_pb2.Event:
        request = event_service_pb2.PublishEventRequest(event_id=event_id)
        return (await self.events.PublishEvent(request, metadata=self.metadata(by))).event

    async def on_sale(self, by: tuple[str, str] = OLGA, **changes: Any) -> event_pb2.Event:
        draft = await self.create(by, **changes)
        return await self.publish(draft.event_id, by)

    async def get(self, event_id: str, by: tuple[str, str] = ALICE) -> event_pb2.Event:
        request = event_service_pb2.GetEventRequest(event_id=event_id)
        return (await self.events.GetEvent(request, metadata=self.metadata(by))).event

    async def update(self, changed: event_pb2.Event, *paths: str, by: tuple[str, str] = OLGA) -> event_pb2.Event:
        request = event_service_pb2.UpdateEventRequest(event=changed)
        request.update_mask.paths.extend(paths)
        return (await self.events.UpdateEvent(request, metadata=self.metadata(by))).event

    async def buy(
        self, event_id: str, by: tuple[str, str] = ALICE, *, quantity: int = 1, **changes: Any
    ) -> purchase_pb2.Purchase:
        """Buy standard tickets; `changes` are fields of the request."""
        usual: dict[str, Any] = {"request_id": new_id(), "event_id": event_id, "items": items((STANDARD, quantity))}
        request = purchase_service_pb2.PurchaseTicketsRequest(**{**usual, **changes})
        return (await self.purchases.PurchaseTickets(request, metadata=self.metadata(by))).purchase

    async def read(self, purchase: purchase_pb2.Purchase, by: tuple[str, str] = ALICE) -> purchase_pb2.Purchase:
        request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase.purchase_id)
        return (await self.purchases.GetPurchase(request, metadata=self.metadata(by))).purchase

    async def confirm(self, purchase: purchase_pb2.Purchase, by: tuple[str, str] = ALICE) -> purchase_pb2.Purchase:
        """Confirm a charge of the service."""
        request = purchase_service_pb2.ConfirmPurchaseRequest(purchase_id=purchase.purchase_id)
        return (await self.purchases.ConfirmPurchase(request, metadata=self.metadata(by))).purchase

    async def report_payment(
        self, purchase: purchase_pb2.Purchase, payment_id: str, by: tuple[str, str] = BACKEND, paid: int = 0
    ) -> purchase_pb2.Purchase:
        """Confirm a payment of the caller's own system, by default of the whole price."""
        request = purchase_service_pb2.ConfirmPurchaseRequest(
            purchase_id=purchase.purchase_id,
            external_payment_id=payment_id,
            paid=money(paid or purchase.total.minor_units),
        )
        return (await self.purchases.ConfirmPurchase(request, metadata=self.metadata(by))).purchase

    async def release(self, purchase: purchase_pb2.Purchase, by: tuple[str, str] = ALICE) -> purchase_pb2.Purchase:
        request = purchase_service_pb2.ReleasePurchaseRequest(purchase_id=purchase.purchase_id)
        return (await self.purchases.ReleasePurchase(request, metadata=self.metadata(by))).purchase

    async def left(self, event: event_pb2.Event) -> int:
        """Return the number of places on sale."""
        return (await self.get(event.event_id)).available_tickets


def new_id() -> str:
    """Return a random id, as callers generate them."""
    return str(uuid.uuid4())
