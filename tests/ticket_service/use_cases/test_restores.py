"""After a restore to any earlier moment, no buyer is charged twice and no refund is made twice.

Each test takes a backup at one moment of a purchase and its cancellation, restores it after the end, and lets the buyer
continue. Stripe and the scan service keep what happened. The figures are counted at Stripe.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import grpc.aio
import pytest
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.backups import back_up, restore
from tests.environment.clock import SettableClock
from tests.environment.messages import at
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import Shop, money
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, KEY, SECURE, StripeStandIn
from ticket_service.adapters import scans as adapters_scans
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.adapters.stripe.records import read_records
from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

PRICE = 2_500
# The calls to Stripe, in order, at whose arrival or answer a backup is taken; and moments between the buyer's calls.
CALLS = ["create", "retrieve", "confirm", "refund"]
MOMENTS = [(call, moment) for call in CALLS for moment in ("before", "after")]
MOMENTS += [("bought", ""), ("cancelling", ""), ("cancelled", "")]
# The hold and the idempotency keys of Stripe have not ended yet, or both have.
AGES = {"minutes old": timedelta(minutes=5), "a day old": timedelta(hours=25)}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeouts, because the test machine may be busy."""
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)
    monkeypatch.setattr(adapters_scans, "CALL_SECONDS", 20.0)


class Buyer:
    """A buyer who cancels the first ticket of a purchase, on a service whose database is restored in between."""

    def __init__(self, channel: grpc.aio.Channel, issuer: Issuer, clock: SettableClock) -> None:
        self.shop = Shop(channel, issuer, clock())
        self._clock = clock
        self.tickets = TicketServiceStub(channel)

    async def event(self) -> event_pb2.Event:
        starts, ends = (at(self.shop.now + timedelta(days=30, hours=hours)) for hours in (0, 4))
        return await self.shop.on_sale(ticket_price=money(PRICE), start_time=starts, end_time=ends)

    async def purchase(self, event: event_pb2.Event) -> purchase_pb2.Purchase:
        """Wait until the only purchase of the event is paid; return it with its tickets."""
        listing = purchasing.ListPurchasesRequest(event_id=event.event_id)

        async def read() -> purchase_pb2.Purchase:
            listed = await self.shop.purchases.ListPurchases(listing, metadata=self.shop.metadata())
            return await self.shop.read(listed.purchases[0])

        async def is_paid() -> bool:
            # The reconciler looks for lost charges every few minutes.
            self._clock.advance(timedelta(seconds=30))
            return (await read()).status == purchase_pb2.PURCHASE_STATUS_COMPLETED

        await until(is_paid)
        return await read()

    async def cancel(self, ticket: ticket_pb2.Ticket) -> None:
        """Cancel a ticket, and wait until it is refunded."""
        request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
        cancellation = (await self.tickets.CancelTicket(request, metadata=self.shop.metadata())).cancellation
        get = pb.GetCancellationRequest(cancellation_id=cancellation.cancellation_id)

        async def status() -> int:
            return (await self.tickets.GetCancellation(get, metadata=self.shop.metadata())).cancellation.status

        await until(status, ticket_pb2.CANCELLATION_STATUS_DONE)

    async def begin_to_cancel(self, ticket: ticket_pb2.Ticket) -> None:
        """Cancel a ticket, without a wait for its refund."""
        request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
        await self.tickets.CancelTicket(request, metadata=self.shop.metadata())

    async def call_off(self, event: event_pb2.Event) -> None:
        """Cancel the event."""
        request = event_service_pb2.CancelEventRequest(event_id=event.event_id)
        await self.shop.events.CancelEvent(request, metadata=self.shop.metadata(Shop.OLGA))

    async def has_money_back(self, event: event_pb2.Event, amount: int) -> None:
        """Wait until the only purchase of the event is refunded: its late payment, or the tickets that it bought."""
        listing = purchasing.ListPurchasesRequest(event_id=event.event_id)

        async def is_refunded() -> bool:
            listed = await self.shop.purchases.ListPurchases(listing, metadata=self.shop.metadata())
            if listed.purchases[0].status == purchase_pb2.PURCHASE_STATUS_REFUNDED:
                return True
            return sum(line.refunded.minor_units for line in (await self._sales(event)).lines) == amount

        await until(is_refunded)
        await self.has_no_refund_pending(event)

    async def has_no_refund_pending(self, event: event_pb2.Event) -> None:
        """Wait until no refund of the event is under way."""

        async def pending() -> int:
            return (await self._sales(event)).refunds_pending

        await until(pending, 0)

    async def has_refunds_of(self, event: event_pb2.Event, amount: int) -> None:
        """Wait until tickets of the event are refunded with an amount, and no refund is under way."""

        async def refunded() -> int:
            return sum(line.refunded.minor_units for line in (await self._sales(event)).lines)

        await until(refunded, amount)
        await self.has_no_refund_pending(event)

    async def _sales(self, event: event_pb2.Event) -> event_service_pb2.GetEventSalesResponse:
        request = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
        return await self.shop.events.GetEventSales(request, metadata=self.shop.metadata(Shop.OLGA))


Story = Callable[[Buyer], Awaitable[None]]


@pytest.fixture
async def tell(make_settings, tickets_url: URL, clock, issuer, stripe: StripeStandIn, scans: ScansStandIn):  # noqa: PLR0913, PLR0917 - all that takes part
    """Run stories of a buyer, each on a service of its own that starts anew on the same database."""
    settings = make_settings(
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )

    async def run(story: Story) -> None:
        async with (
            running(App(settings, tickets_url, clock)) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            await story(Buyer(channel, issuer, clock))

    return run


@pytest.fixture
async def equals_stripe(tickets_url: URL, stripe: StripeStandIn):
    """Check after the test that the audit finds the same money at Stripe."""
    yield
    lines: list[str] = []
    records = {"stripe": lambda: read_records(KEY, stripe.api_base)}
    assert await asyncio.to_thread(audit, tickets_url, lines.append, records) == 0, "\n".join(lines)


class Backups:
    """The backups that are taken at the calls to Stripe, by moment."""

    def __init__(self, url: URL, stripe: StripeStandIn) -> None:
        self._url = url
        self.taken: dict[tuple[str, str], dict[str, str]] = {}
        stripe.on_arrival = lambda call: self.take(call, "before")
        stripe.on_done = lambda call: self.take(call, "after")

    def take(self, call: str, moment: str = "") -> None:
        if (call, moment) not in self.taken:
            self.taken[call, moment] = back_up(self._url)


@pytest.fixture
def backups(tickets_url: URL, stripe: StripeStandIn) -> Backups:
    return Backups(tickets_url, stripe)


@pytest.mark.usefixtures("equals_stripe")
@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("moment", MOMENTS, ids=" ".join)
async def test_a_restored_purchase_is_charged_and_refunded_once(  # noqa: PLR0913, PLR0917 - fixtures and cases
    tell, backups, stripe, scans, clock, tickets_url, moment, age
):
    events: list[event_pb2.Event] = []

    async def buy_and_cancel(buyer: Buyer) -> None:
        events.append(await buyer.event())
        await buyer.shop.buy(events[0].event_id, quantity=2, payment_method_id=CARD)
        await asyncio.to_thread(backups.take, "bought")
        scans.may_answer.clear()
        cancel = asyncio.create_task(buyer.cancel((await buyer.purchase(events[0])).tickets[0]))
        await scans.called.wait()
        await asyncio.to_thread(backups.take, "cancelling")
        scans.may_answer.set()
        await cancel
        await asyncio.to_thread(backups.take, "cancelled")

    async def cancel_again(buyer: Buyer) -> None:
        bought = await buyer.purchase(events[0])
        await buyer.cancel(bought.tickets[0])
        assert stripe.charged() == {bought.purchase_id: 2 * PRICE}
        assert stripe.refunded() == {bought.purchase_id: PRICE}
        # The other ticket is refunded as well, once.
        await buyer.cancel(bought.tickets[1])
        assert stripe.refunded() == {bought.purchase_id: 2 * PRICE}

    await tell(buy_and_cancel)
    await asyncio.to_thread(restore, tickets_url, backups.taken[moment])
    clock.advance(AGES[age])
    await tell(cancel_again)


@pytest.mark.usefixtures("equals_stripe")
@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("moment", [("on sale", ""), ("refund", "before"), ("refund", "after"), ("refunded", "")])
async def test_a_restored_event_is_refunded_once(  # noqa: PLR0913, PLR0917 - fixtures and cases
    tell, backups, stripe, clock, tickets_url, moment, age
):
    events: list[event_pb2.Event] = []

    async def call_off(buyer: Buyer) -> None:
        events.append(await buyer.event())
        for quantity in (1, 3):
            await buyer.shop.buy(events[0].event_id, quantity=quantity, payment_method_id=CARD)
        await asyncio.to_thread(backups.take, "on sale")
        await buyer.call_off(events[0])
        await until(lambda: stripe.refunded() == stripe.charged())
        await buyer.has_no_refund_pending(events[0])
        await asyncio.to_thread(backups.take, "refunded")

    async def call_off_again(buyer: Buyer) -> None:
        await buyer.call_off(events[0])
        await buyer.has_refunds_of(events[0], 4 * PRICE)
        assert stripe.refunded() == stripe.charged()
        assert sum(stripe.charged().values()) == 4 * PRICE

    await tell(call_off)
    await asyncio.to_thread(restore, tickets_url, backups.taken[moment])
    clock.advance(AGES[age])
    await tell(call_off_again)


@pytest.mark.usefixtures("equals_stripe")
@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize(
    "moment", [("held", ""), ("called off", ""), ("refund", "before"), ("refund", "after"), ("refunded", "")]
)
async def test_a_restored_late_payment_is_refunded_once(  # noqa: PLR0913, PLR0917 - fixtures and cases
    tell, backups, stripe, clock, tickets_url, moment, age
):
    events: list[event_pb2.Event] = []

    async def pay_late(buyer: Buyer) -> None:
        events.append(await buyer.event())
        held = await buyer.shop.buy(events[0].event_id, payment_method_id=SECURE)
        await asyncio.to_thread(backups.take, "held")
        await buyer.call_off(events[0])
        await asyncio.to_thread(backups.take, "called off")
        stripe.finish(held.payment.payment_id)
        clock.advance(timedelta(minutes=1))
        await until(lambda: stripe.refunded() == stripe.charged())
        await buyer.has_no_refund_pending(events[0])
        await asyncio.to_thread(backups.take, "refunded")

    async def pay_no_more(buyer: Buyer) -> None:
        await buyer.call_off(events[0])
        await buyer.has_money_back(events[0], PRICE)
        assert stripe.refunded() == stripe.charged()
        assert list(stripe.charged().values()) == [PRICE]

    await tell(pay_late)
    await asyncio.to_thread(restore, tickets_url, backups.taken[moment])
    clock.advance(AGES[age])
    await tell(pay_no_more)


@pytest.mark.usefixtures("equals_stripe")
@pytest.mark.parametrize("moment", [("bought", ""), ("refund", "before"), ("refund", "after")])
async def test_a_restored_refund_that_is_under_way_is_awaited(  # noqa: PLR0913, PLR0917 - fixtures and cases
    tell, backups, stripe, clock, tickets_url, moment
):
    events: list[event_pb2.Event] = []
    stripe.refund_status = "pending"

    async def begin(buyer: Buyer) -> None:
        events.append(await buyer.event())
        await buyer.shop.buy(events[0].event_id, quantity=2, payment_method_id=CARD)
        await asyncio.to_thread(backups.take, "bought")
        await buyer.begin_to_cancel((await buyer.purchase(events[0])).tickets[0])
        await until(lambda: ("refund", "after") in backups.taken)

    async def end(buyer: Buyer) -> None:
        arrived: list[str] = []
        stripe.on_arrival = arrived.append
        ticket = (await buyer.purchase(events[0])).tickets[0]
        await buyer.begin_to_cancel(ticket)

        def is_tried() -> bool:
            # The reconciler and the order both look, the order at least every 15 minutes.
            clock.advance(timedelta(minutes=1))
            return arrived.count("list_refunds") >= 20

        await until(is_tried)
        assert len(stripe.refunds) == 1
        stripe.settle_refund(stripe.refunds[0]["id"], "succeeded")
        clock.advance(timedelta(minutes=15))
        await buyer.cancel(ticket)
        assert list(stripe.refunded().values()) == [PRICE]

    await tell(begin)
    await asyncio.to_thread(restore, tickets_url, backups.taken[moment])
    # The keys of Stripe have ended, so only the look prevents a second refund.
    clock.advance(timedelta(hours=25))
    await tell(end)
