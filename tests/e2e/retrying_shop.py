"""A shop's backend that repeats every call until a ticket service answers, and its buyers."""

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
# A buyer asks several times for places that are sold out, because other holds may end in between.
REQUESTS: Final = 3
OVERLOADED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
# With these codes the service or its database is down, or the service is overloaded.
ASK_AGAIN: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, OVERLOADED})


class PaymentOutcome(StrEnum):
    """The outcome of a payment that the shop's own payment system captured."""

    # The ticket service has not answered.
    CAPTURED = "captured"
    # The payment pays for tickets.
    KEPT = "kept"
    # The ticket service asks for a refund.
    REFUND_DUE = "refund due"
    # The ticket service never received the payment: the shop refunds it by itself.
    REFUSED = "refused"


class SoldOutError(Exception):
    """No place is available at present."""


@dataclass
class RetryingShop:
    """A backend with its buyers, its answers and its payments; some of `services` may be down.

    The shop calls `on_answer` with the number of answers so far.
    """

    services: Sequence[PurchaseServiceStub]
    metadata: tuple[tuple[str, str], ...]
    event: event_pb2.Event
    random: random.Random
    on_answer: Callable[[int], None]
    # The tickets of the first answer with COMPLETED, by purchase id.
    completed: dict[str, frozenset[str]] = field(default_factory=dict)
    # The purchase id, once there is one, and the outcome, by payment id.
    payments: dict[str, tuple[str, PaymentOutcome]] = field(default_factory=dict)
    answers: int = 0
    # `lost`: calls without an answer. `found`: purchases that such a call had made.
    lost: int = 0
    found: int = 0

    async def buy(self, number: int) -> None:
        """Buy as one of many buyers, who pay in random ways."""
        buyer, quantity = f"buyer-{number}", self.random.choice([1, 1, 1, 2, 3])
        kind = self.random.choice([self._pay_first, self._pay_in_time, self._pay_late, self._pay_twice, self._leave])
        try:
            await kind(buyer, quantity)
        except SoldOutError:
            return

    async def buy_one(self, buyer: str) -> bool:
        """Pay for one place; return whether a place was available."""
        try:
            await self._pay_first(buyer, 1)
        except SoldOutError:
            return False
        return True

    async def read(self, purchase_id: str) -> purchase_pb2.Purchase:
        request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase_id)
        return (await self._ask("GetPurchase", request)).purchase

    async def _pay_first(self, buyer: str, quantity: int) -> None:
        payment_id = self._capture()
        request = self._order(buyer, quantity)
        request.external_payment_id = payment_id
        try:
            bought = await self._purchase(request)
        except SoldOutError:
            self.payments[payment_id] = ("", PaymentOutcome.REFUSED)
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

    async def _leave(self, buyer: str, quantity: int) -> None:
        held = await self._purchase(self._order(buyer, quantity))
        # The other buyers leave without a call.
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
        """Ask for places, sometimes at two services at once: the repeated request must not buy twice."""
        for _ in range(REQUESTS):
            times = 2 if self.random.random() < 0.2 else 1
            asked = [self._ask("PurchaseTickets", request) for _ in range(times)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            bought = [answer.purchase for answer in answers if not isinstance(answer, BaseException)]
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, SoldOutError):
                    raise answer
            assert len({purchase.purchase_id for purchase in bought}) <= 1, "one request bought twice"
            if bought:
                return bought[0]
            await asyncio.sleep(self.random.uniform(0, HOLD_SECONDS))
        raise SoldOutError

    async def _pay(self, held: purchase_pb2.Purchase) -> None:
        payment_id = self._capture()
        request = purchase_service_pb2.ConfirmPurchaseRequest(
            purchase_id=held.purchase_id, external_payment_id=payment_id, paid=held.total
        )
        self._settle(payment_id, (await self._ask("ConfirmPurchase", request)).purchase)

    def _capture(self) -> str:
        payment_id = f"payment-{len(self.payments)}"
        self.payments[payment_id] = ("", PaymentOutcome.CAPTURED)
        return payment_id

    def _settle(self, payment_id: str, purchase: purchase_pb2.Purchase) -> None:
        assert purchase.status in {COMPLETED, REFUNDING}, purchase
        is_kept = purchase.status == COMPLETED and purchase.payment.payment_id == payment_id
        self.payments[payment_id] = (
            purchase.purchase_id,
            PaymentOutcome.KEPT if is_kept else PaymentOutcome.REFUND_DUE,
        )

    async def _ask(self, rpc: str, request: Any) -> Any:
        """Call services until one answers."""
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
                # A call that never connected, or that was answered OVERLOADED, has no effect.
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
            assert self.completed.setdefault(purchase.purchase_id, tickets) == tickets, "an earlier answer differs"
        else:
            assert purchase.purchase_id not in self.completed, f"COMPLETED before, now {purchase.status}"
