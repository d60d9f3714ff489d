"""A rush on few places: a shop's backend that goes on asking, whichever ticket service it loses, and its buyers."""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import grpc
import grpc.aio

from ticketing.tickets.v1 import event_pb2, money_pb2, purchase_pb2, purchase_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub

HELD, COMPLETED = purchase_pb2.PURCHASE_STATUS_HELD, purchase_pb2.PURCHASE_STATUS_COMPLETED
REFUNDING = purchase_pb2.PURCHASE_STATUS_REFUNDING

HOLD_SECONDS: Final = 1
CALL_SECONDS: Final = 5
TRIES: Final = 500
RETRY_SECONDS: Final = 0.4
# How often somebody asks for places that are sold out; holds of others may end meanwhile.
REQUESTS: Final = 3
OVERLOADED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
# The service did not say no: it or its database is gone, or it has too much to do.
ASK_AGAIN: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, OVERLOADED})


class Fate(StrEnum):
    """What became of money that the shop's own payment system took."""

    # Nobody has said yet.
    TAKEN = "taken"
    # It pays for tickets.
    KEPT = "kept"
    # The ticket service owes it back.
    OWED = "owed"
    # The ticket service never had it: the shop gives it back by itself.
    REFUSED = "refused"


class SoldOutError(Exception):
    """Nothing is left, for now."""


@dataclass
class Rush:
    """What the shop asks, what it was told, and what it took.

    Args:
        services: stubs of all ticket services, of which some may be gone.
        metadata: the backend's.
        event: what is sold.
        random: decides what everybody does.
    """

    services: Sequence[PurchaseServiceStub]
    metadata: tuple[tuple[str, str], ...]
    event: event_pb2.Event
    random: random.Random
    # Called with the number of answers so far.
    on_answer: Callable[[int], None]
    # By purchase: the tickets, as they were told with COMPLETED.
    told: dict[str, frozenset[str]] = field(default_factory=dict)
    # By payment: the purchase it is for, once there is one, and what became of it.
    payments: dict[str, tuple[str, Fate]] = field(default_factory=dict)
    answers: int = 0
    # Calls whose answer was lost with their connection, their database or their time, and sales found behind them.
    lost: int = 0
    found: int = 0

    async def buy(self, number: int) -> None:
        """Be one of many buyers; which kind is a matter of chance."""
        buyer, quantity = f"buyer-{number}", self.random.choice([1, 1, 1, 2, 3])
        kind = self.random.choice([self._pay_first, self._pay_in_time, self._pay_late, self._pay_twice, self._give_up])
        try:
            await kind(buyer, quantity)
        except SoldOutError:
            return

    async def buy_one(self, buyer: str) -> bool:
        """Pay for one place; tell whether there was one."""
        try:
            await self._pay_first(buyer, 1)
        except SoldOutError:
            return False
        return True

    async def read(self, purchase_id: str) -> purchase_pb2.Purchase:
        """Ask how a purchase stands."""
        request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase_id)
        return (await self._ask("GetPurchase", request)).purchase

    async def _pay_first(self, buyer: str, quantity: int) -> None:
        payment_id = self._take_money()
        request = self._order(buyer, quantity)
        request.external_payment_id = payment_id
        try:
            bought = await self._purchase(request)
        except SoldOutError:
            self.payments[payment_id] = ("", Fate.REFUSED)
            raise
        self._settle(payment_id, bought)

    async def _pay_in_time(self, buyer: str, quantity: int) -> None:
        await self._pay(await self._purchase(self._order(buyer, quantity)))

    async def _pay_late(self, buyer: str, quantity: int) -> None:
        held = await self._purchase(self._order(buyer, quantity))
        await asyncio.sleep(HOLD_SECONDS * self.random.uniform(0.8, 1.5))
        await self._pay(held)

    async def _pay_twice(self, buyer: str, quantity: int) -> None:
        held = await self._purchase(self._order(buyer, quantity))
        await asyncio.gather(self._pay(held), self._pay(held))

    async def _give_up(self, buyer: str, quantity: int) -> None:
        held = await self._purchase(self._order(buyer, quantity))
        # Or only walk away.
        if self.random.random() < 0.5:
            await self._ask(
                "ReleasePurchase", purchase_service_pb2.ReleasePurchaseRequest(purchase_id=held.purchase_id)
            )

    def _order(self, buyer: str, quantity: int) -> purchase_service_pb2.PurchaseTicketsRequest:
        return purchase_service_pb2.PurchaseTicketsRequest(
            request_id=str(uuid.uuid4()),
            event_id=self.event.event_id,
            items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=quantity)],
            user_id=buyer,
            expected_total=money_pb2.Money(
                currency_code="EUR", minor_units=quantity * self.event.ticket_price.minor_units
            ),
        )

    async def _purchase(self, request: purchase_service_pb2.PurchaseTicketsRequest) -> purchase_pb2.Purchase:
        """Ask for places, some at two services at once: an impatient shop must not buy twice."""
        for _ in range(REQUESTS):
            times = 2 if self.random.random() < 0.2 else 1
            asked = [self._ask("PurchaseTickets", request) for _ in range(times)]
            told = await asyncio.gather(*asked, return_exceptions=True)
            bought = [answer.purchase for answer in told if not isinstance(answer, BaseException)]
            for answer in told:
                if isinstance(answer, BaseException) and not isinstance(answer, SoldOutError):
                    raise answer
            assert len({purchase.purchase_id for purchase in bought}) <= 1, "one request bought twice"
            if bought:
                return bought[0]
            await asyncio.sleep(self.random.uniform(0, HOLD_SECONDS))
        raise SoldOutError

    async def _pay(self, held: purchase_pb2.Purchase) -> None:
        payment_id = self._take_money()
        request = purchase_service_pb2.ConfirmPurchaseRequest(
            purchase_id=held.purchase_id, external_payment_id=payment_id, paid=held.total
        )
        self._settle(payment_id, (await self._ask("ConfirmPurchase", request)).purchase)

    def _take_money(self) -> str:
        payment_id = f"payment-{len(self.payments)}"
        self.payments[payment_id] = ("", Fate.TAKEN)
        return payment_id

    def _settle(self, payment_id: str, purchase: purchase_pb2.Purchase) -> None:
        assert purchase.status in {COMPLETED, REFUNDING}, purchase
        is_kept = purchase.status == COMPLETED and purchase.payment.payment_id == payment_id
        self.payments[payment_id] = (purchase.purchase_id, Fate.KEPT if is_kept else Fate.OWED)

    async def _ask(self, rpc: str, request: Any) -> Any:
        """Ask any service until one answers."""
        was_lost = False
        for _ in range(TRIES):
            asked_at = datetime.now(UTC)
            method = getattr(self.random.choice(self.services), rpc)
            try:
                answer = await method(request, metadata=self.metadata, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if b"ERROR_REASON_SOLD_OUT" in dict(error.trailing_metadata()).get("grpc-status-details-bin", b""):
                    self._count()
                    raise SoldOutError from error
                if error.code() not in ASK_AGAIN:
                    raise
                # Who was never connected has lost nothing, nor who was told that it is too much at once.
                is_lost = "connect" not in str(error.details()) and error.code() is not OVERLOADED
                self.lost += is_lost
                was_lost |= is_lost
                await asyncio.sleep(self.random.uniform(0, RETRY_SECONDS))
            else:
                self._count()
                self._remember(answer.purchase)
                is_replay = answer.purchase.create_time.ToDatetime(UTC) < asked_at
                self.found += was_lost and is_replay and rpc == "PurchaseTickets"
                return answer
        raise AssertionError(f"no answer after {TRIES} tries")

    def _count(self) -> None:
        self.answers += 1
        self.on_answer(self.answers)

    def _remember(self, purchase: purchase_pb2.Purchase) -> None:
        if purchase.status == COMPLETED:
            tickets = frozenset(ticket.ticket_id for ticket in purchase.tickets)
            assert len(tickets) == sum(item.quantity for item in purchase.items)
            assert self.told.setdefault(purchase.purchase_id, tickets) == tickets, "told differently before"
        else:
            assert purchase.purchase_id not in self.told, f"COMPLETED before, now {purchase.status}"
