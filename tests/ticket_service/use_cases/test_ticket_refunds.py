"""An organizer refunds a part of a price, more than the terms grant, or by hand; the sum never exceeds the price."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.refusals import Refusal, refusal
from tests.environment.waiting import until
from tests.selling.shop import Shop, money, new_id
from tests.stand_ins.stripe import CARD, SECURE
from ticket_service.domain.notifications import Kind
from ticket_service.store.owed_refunds import count_owed
from ticket_service.store.tables import ledger, outbox
from ticket_service.use_cases.refunds import MAX_RETRY_SECONDS
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, refund_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("patience", "adds_up")]

PRICE = 2_500
REFUNDING, DONE = refund_pb2.TICKET_REFUND_STATUS_REFUNDING, refund_pb2.TICKET_REFUND_STATUS_DONE
PENDING, REFUSED = refund_pb2.OWED_REFUND_STATUS_PENDING, refund_pb2.OWED_REFUND_STATUS_REFUSED
REQUESTED = refund_pb2.OWED_REFUND_STATUS_REQUESTED
CANCEL_DONE, CANCEL_FAILED = ticket_pb2.CANCELLATION_STATUS_DONE, ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED


@pytest.fixture
def service(card_service: str) -> str:
    return card_service


@pytest.fixture
async def event(shop: Shop) -> event_pb2.Event:
    return await shop.on_sale(ticket_price=money(PRICE))


class Desk:
    """The calls of the organizer, of the backend and of the buyer about refunds."""

    def __init__(self, channel: grpc.aio.Channel, shop: Shop, database: Database) -> None:
        self.tickets = TicketServiceStub(channel)
        self.shop = shop
        self.database = database

    async def refund(
        self, ticket: ticket_pb2.Ticket, amount: int, by: tuple[str, str] = Shop.OLGA, **changes: Any
    ) -> refund_pb2.TicketRefund:
        usual: dict[str, Any] = {"request_id": new_id(), "ticket_id": ticket.ticket_id, "amount": money(amount)}
        request = pb.RefundTicketRequest(**{**usual, **changes})
        return (await self.tickets.RefundTicket(request, metadata=self.shop.metadata(by))).refund

    async def cancel(
        self, ticket: ticket_pb2.Ticket, by: tuple[str, str] = Shop.OLGA, **changes: Any
    ) -> ticket_pb2.Cancellation:
        request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id, **changes)
        return (await self.tickets.CancelTicket(request, metadata=self.shop.metadata(by))).cancellation

    async def cancellation(self, found: ticket_pb2.Cancellation) -> ticket_pb2.Cancellation:
        request = pb.GetCancellationRequest(cancellation_id=found.cancellation_id)
        return (await self.tickets.GetCancellation(request, metadata=self.shop.metadata())).cancellation

    async def ticket(self, ticket: ticket_pb2.Ticket) -> ticket_pb2.Ticket:
        request = pb.GetTicketRequest(ticket_id=ticket.ticket_id)
        return (await self.tickets.GetTicket(request, metadata=self.shop.metadata())).ticket

    async def confirm(self, refund_id: str, by: tuple[str, str] = Shop.OLGA, **cause: Any) -> None:
        request = pb.ConfirmRefundRequest(refund_id=refund_id, **cause)
        await self.tickets.ConfirmRefund(request, metadata=self.shop.metadata(by))

    async def owed(self, by: tuple[str, str] = Shop.OLGA, **changes: Any) -> list[refund_pb2.OwedRefund]:
        request = pb.ListOwedRefundsRequest(**changes)
        return list((await self.tickets.ListOwedRefunds(request, metadata=self.shop.metadata(by))).refunds)

    async def counted(self) -> dict[str, int]:
        """Return the numbers of owed refunds that the metrics show, by status."""
        rows = await self.database.run(lambda connection: count_owed(connection, limit=100))
        return {status.value: count for status, count, _ in rows}

    async def nothing_is_owed(self) -> bool:
        return not await self.owed()


@pytest.fixture
def desk(channel: grpc.aio.Channel, shop: Shop, database: Database) -> Desk:
    return Desk(channel, shop, database)


async def buy(shop: Shop, event: event_pb2.Event, quantity: int = 1) -> purchase_pb2.Purchase:
    return await shop.buy(event.event_id, quantity=quantity, payment_method_id=CARD)


async def pay_elsewhere(shop: Shop, event: event_pb2.Event) -> purchase_pb2.Purchase:
    return await shop.report_payment(await shop.buy(event.event_id), "pay-1")


async def kinds(database: Database) -> list[str]:
    query = sa.select(outbox.c.kind).order_by(outbox.c.position)
    return await database.run(lambda connection: list(connection.execute(query).scalars()))


async def test_a_part_of_the_price_is_refunded_and_the_ticket_stays(shop, event, desk, stripe, database):
    bought = await buy(shop, event)
    [ticket] = bought.tickets
    asked = await desk.refund(ticket, 700, reason="no support act")
    assert (asked.status, asked.amount, asked.reason) == (REFUNDING, money(700), "no support act")
    await until(desk.nothing_is_owed)
    assert stripe.refunded() == {bought.purchase_id: 700}
    found = await desk.ticket(ticket)
    assert (found.status, found.refunded, found.price_paid) == (ticket.status, money(700), money(PRICE))
    assert found.cancel_refund == money(PRICE - 700)
    sales = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
    answer = await shop.events.GetEventSales(sales, metadata=shop.metadata(Shop.OLGA))
    assert (answer.refunds_pending, [line.refunded for line in answer.lines]) == (0, [money(700)])
    assert (await kinds(database)).count(Kind.REFUND_MADE) == 1


async def test_a_repeated_request_refunds_nothing_more(shop, event, desk, stripe):
    [ticket] = (await buy(shop, event)).tickets
    request_id = new_id()
    answers = await asyncio.gather(*(desk.refund(ticket, 700, request_id=request_id) for _ in range(5)))
    assert len({one.ticket_refund_id for one in answers}) == 1
    await until(desk.nothing_is_owed)
    assert (await desk.refund(ticket, 700, request_id=request_id)).status == DONE
    assert sum(stripe.refunded().values()) == 700
    other = await refusal(desk.refund(ticket, 701, request_id=request_id))
    assert other.reason == "REQUEST_ID_REUSED"


async def test_the_refunds_of_a_ticket_never_exceed_its_price(shop, event, desk, stripe):
    bought = await buy(shop, event)
    [ticket] = bought.tickets

    async def attempt() -> Refusal | refund_pb2.TicketRefund:
        try:
            return await desk.refund(ticket, 1_000)
        except grpc.aio.AioRpcError:
            return await refusal(desk.refund(ticket, 1_000))

    answers = await asyncio.gather(*(attempt() for _ in range(4)))
    refused = [one for one in answers if isinstance(one, Refusal)]
    assert len(refused) == 2
    facts = {"ticket_id": ticket.ticket_id, "min": "1", "max": "500", "currency_code": "EUR"}
    assert {one.cause[0] for one in refused} == {"REFUND_OUT_OF_RANGE"}
    assert all(one.metadata == facts for one in refused)
    await desk.refund(ticket, 500)
    await until(desk.nothing_is_owed)
    assert stripe.refunded() == {bought.purchase_id: PRICE}


async def test_a_later_cancellation_refunds_only_the_rest(shop, event, desk, stripe):
    bought = await buy(shop, event)
    [ticket] = bought.tickets
    await desk.refund(ticket, 700)
    cancelled = await desk.cancel(ticket, Shop.ALICE)
    assert (cancelled.refund_amount, cancelled.refund_percent) == (money(PRICE - 700), 100)
    await until(desk.nothing_is_owed)
    assert stripe.refunded() == {bought.purchase_id: PRICE}
    assert (await refusal(desk.refund(ticket, 1))).metadata["max"] == "0"


async def test_a_cancelled_event_refunds_only_the_rest(shop, event, desk, stripe):
    bought = await buy(shop, event, 2)
    await desk.refund(bought.tickets[0], 700)
    await desk.refund(bought.tickets[1], PRICE)
    request = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(request, metadata=shop.metadata(Shop.OLGA))

    async def is_refunded() -> bool:
        return stripe.refunded() == {bought.purchase_id: 2 * PRICE} and await desk.nothing_is_owed()

    await until(is_refunded)


async def test_a_cancelled_ticket_is_refunded_further(shop, event, desk, stripe, clock):
    bought = await buy(shop, event)
    [ticket] = bought.tickets
    clock.advance(timedelta(days=6))
    assert (await desk.cancel(ticket, Shop.ALICE)).refund_amount == money(PRICE // 2)
    await desk.refund(ticket, PRICE // 2)
    await until(desk.nothing_is_owed)
    assert stripe.refunded() == {bought.purchase_id: PRICE}


async def test_the_organizer_cancels_with_more_than_the_terms_grant(shop, event, desk, stripe, clock):
    bought = await buy(shop, event, 2)
    clock.advance(timedelta(days=6))
    first, second = bought.tickets
    for amount in (PRICE // 2 - 1, PRICE + 1):
        refused = await refusal(desk.cancel(first, refund_amount=money(amount)))
        assert (refused.reason, refused.metadata["min"], refused.metadata["max"]) == (
            "REFUND_OUT_OF_RANGE",
            str(PRICE // 2),
            str(PRICE),
        )
    assert (await refusal(desk.cancel(first, refund_amount=money(PRICE, "CHF")))).reason == "REFUND_OUT_OF_RANGE"
    more = await desk.cancel(first, refund_amount=money(2_000))
    assert (more.refund_amount, more.refund_percent) == (money(2_000), 80)
    again = await desk.cancel(first, Shop.BACKEND, refund_amount=money(2_000))
    assert again.cancellation_id == more.cancellation_id
    assert (await refusal(desk.cancel(first, refund_amount=money(PRICE)))).reason == "TICKET_NOT_CANCELLABLE"
    assert (await desk.cancel(second)).refund_amount == money(PRICE // 2)
    await until(desk.nothing_is_owed)
    assert stripe.refunded() == {bought.purchase_id: 2_000 + PRICE // 2}


async def test_only_the_organizer_sets_an_amount(shop, event, desk, stripe):
    [ticket] = (await buy(shop, event)).tickets
    assert (await refusal(desk.cancel(ticket, Shop.ALICE, refund_amount=money(1)))).reason == "FORBIDDEN"
    # The holder may be the organizer of another event.
    holder = ("organizer", "alice")
    assert (await refusal(desk.cancel(ticket, holder, refund_amount=money(1)))).reason == "TICKET_NOT_FOUND"
    assert (await refusal(desk.refund(ticket, 1, holder))).reason == "TICKET_NOT_FOUND"
    assert (await refusal(desk.refund(ticket, 1, Shop.ALICE))).reason == "FORBIDDEN"
    refused = await refusal(desk.refund(ticket, 0, ticket_id="x"))
    assert refused.fields == {"ticket_id", "amount.minor_units"}
    assert (await desk.refund(ticket, 1, Shop.BACKEND)).status == REFUNDING


async def test_a_free_ticket_has_nothing_to_refund(shop, desk):
    free = await shop.on_sale()
    [ticket] = (await shop.buy(free.event_id)).tickets
    assert (await refusal(desk.refund(ticket, 1))).metadata["max"] == "0"


async def test_the_callers_own_system_refunds_a_part_and_confirms(shop, event, desk, database):
    [ticket] = (await pay_elsewhere(shop, event)).tickets
    asked = await desk.refund(ticket, 700)
    [owed] = await desk.owed()
    assert (owed.status, owed.provider, owed.ticket_refund_id) == (REQUESTED, "external", asked.ticket_refund_id)
    assert await desk.counted() == {"REQUESTED": 1}
    assert (await refusal(desk.confirm("re-1", ticket_refund_id=new_id()))).reason == "TICKET_REFUND_NOT_FOUND"
    for _ in range(2):
        await desk.confirm("re-1", Shop.BACKEND, ticket_refund_id=asked.ticket_refund_id)
    refused = await refusal(desk.confirm("re-2", ticket_refund_id=asked.ticket_refund_id))
    assert (refused.reason, refused.metadata["instead"]) == ("ILLEGAL_TRANSITION", "NOTHING")
    assert await desk.owed() == []
    wanted = [Kind.PURCHASE_COMPLETED, Kind.REFUND_REQUESTED, Kind.REFUND_MADE]
    assert await kinds(database) == wanted


async def test_a_refused_refund_is_paid_by_hand_and_never_made_too(shop, event, desk, stripe, clock):
    bought = await buy(shop, event)
    [ticket] = bought.tickets
    stripe.fails["refund"] = 500
    cancelled = await desk.cancel(ticket)
    await until(lambda: "refund" in stripe.calls)
    its = {"cancellation_id": cancelled.cancellation_id}
    for by_hand in (False, True):
        refused = await refusal(desk.confirm("transfer 7", **its, paid_by_hand=by_hand))
        assert refused.metadata == {"from": "PENDING", "to": "DONE", "provider": "stripe", "instead": "WAIT"}
    assert [one.status for one in await desk.owed()] == [PENDING]

    stripe.fails.clear()
    stripe.refuses_refunds = "the card is closed"
    clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))

    async def status() -> int:
        return (await desk.cancellation(cancelled)).status

    await until(status, CANCEL_FAILED)
    [owed] = await desk.owed(event_id=event.event_id, status=REFUSED)
    assert (owed.failure, owed.amount, owed.attempts) == ("the card is closed", money(PRICE), 2)
    assert (owed.cancellation_id, owed.ticket_id) == (cancelled.cancellation_id, ticket.ticket_id)
    assert (owed.provider, owed.purchase_id, owed.HasField("next_try_time")) == ("stripe", bought.purchase_id, False)
    assert owed.since_time == cancelled.create_time
    refused = await refusal(desk.confirm("transfer 7", **its))
    assert refused.metadata["instead"] == "PAY_BY_HAND"
    for _ in range(2):
        await desk.confirm("transfer 7", **its, paid_by_hand=True)
    done = await desk.cancellation(cancelled)
    assert (done.status, done.refund_id) == (CANCEL_DONE, "transfer 7")
    refused = await refusal(desk.confirm("transfer 8", **its, paid_by_hand=True))
    assert refused.metadata["instead"] == "NOTHING"

    stripe.refuses_refunds = ""
    clock.advance(timedelta(days=2))
    request = pb.RetryRefundRequest(cancellation_id=cancelled.cancellation_id)
    await desk.tickets.RetryRefund(request, metadata=shop.metadata(Shop.OLGA))
    assert await desk.owed() == []
    assert stripe.refunded() == {}
    query = sa.select(ledger.c.refund_id, ledger.c.note).where(ledger.c.kind == "REFUNDED")
    entered = await desk.database.run(lambda connection: [tuple(row) for row in connection.execute(query)])
    assert entered == [("transfer 7", "paid by hand, confirmed by olga")]
    assert (await kinds(desk.database))[-1] == Kind.REFUND_MADE


async def test_a_late_payment_that_stripe_does_not_refund_is_paid_by_hand(shop, event, desk, stripe, clock):
    held = await shop.buy(event.event_id, payment_method_id=SECURE)
    off = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(off, metadata=shop.metadata(Shop.OLGA))
    stripe.refuses_refunds = "the balance is too low"
    stripe.finish(held.payment.payment_id)
    clock.advance(timedelta(minutes=1))

    async def refused() -> list[refund_pb2.OwedRefund]:
        return await desk.owed(status=REFUSED)

    [owed] = await until(refused) and await refused()
    assert (await kinds(desk.database)).count(Kind.REFUND_FAILED) == 1
    assert (owed.failure, owed.ticket_id, owed.purchase_id) == ("the balance is too low", "", held.purchase_id)
    assert owed.HasField("next_try_time")
    for _ in range(2):
        await desk.confirm("transfer 7", purchase_id=held.purchase_id, paid_by_hand=True)
    assert (await shop.read(held)).status == purchase_pb2.PURCHASE_STATUS_REFUNDED
    stripe.refuses_refunds = ""
    clock.advance(timedelta(hours=2))
    assert await desk.owed() == []
    assert stripe.refunded() == {}
    again = await refusal(desk.confirm("transfer 8", purchase_id=held.purchase_id, paid_by_hand=True))
    assert again.metadata["instead"] == "NOTHING"


async def test_a_refused_part_is_tried_again_or_paid_by_hand(shop, event, desk, stripe, clock):
    bought = await buy(shop, event, 2)
    stripe.refuses_refunds = "the balance is too low"
    parts = [await desk.refund(ticket, 700) for ticket in bought.tickets]

    async def refused() -> int:
        return len(await desk.owed(status=REFUSED))

    await until(refused, 2)
    assert await desk.counted() == {"REFUSED": 2}
    assert (await kinds(desk.database)).count(Kind.REFUND_FAILED) == 2
    # The hourly repetitions notify nobody again.
    clock.advance(timedelta(hours=1))
    await until(lambda: stripe.calls.count("refund") == 4)
    await until(refused, 2)
    assert (await kinds(desk.database)).count(Kind.REFUND_FAILED) == 2
    await desk.confirm("transfer 7", ticket_refund_id=parts[0].ticket_refund_id, paid_by_hand=True)
    stripe.refuses_refunds = ""

    async def is_settled_in_an_hour() -> bool:
        clock.advance(timedelta(hours=1))
        return await desk.nothing_is_owed()

    await until(is_settled_in_an_hour)
    assert stripe.refunded() == {bought.purchase_id: 700}


async def test_owed_refunds_are_listed_oldest_first_on_pages(shop, event, desk, stripe, clock):
    stripe.fails["refund"] = 500
    bought = await buy(shop, event, 3)
    made = []
    for ticket in bought.tickets:
        clock.advance(timedelta(seconds=1))
        made.append((await desk.refund(ticket, 5)).ticket_refund_id)
    foreign = await shop.on_sale(("organizer", "oscar"), ticket_price=money(PRICE))
    others = await shop.buy(foreign.event_id, payment_method_id=CARD)
    await desk.refund(others.tickets[0], 5, Shop.BACKEND)
    assert [one.ticket_refund_id for one in await desk.owed()] == made
    assert len(await desk.owed(Shop.BACKEND)) == 4
    assert await desk.owed(event_id=foreign.event_id) == []
    request = pb.ListOwedRefundsRequest(page_size=2)
    first = await desk.tickets.ListOwedRefunds(request, metadata=shop.metadata(Shop.OLGA))
    request.page_token = first.next_page_token
    rest = await desk.tickets.ListOwedRefunds(request, metadata=shop.metadata(Shop.OLGA))
    assert [one.ticket_refund_id for one in (*first.refunds, *rest.refunds)] == made
    assert rest.next_page_token == ""
