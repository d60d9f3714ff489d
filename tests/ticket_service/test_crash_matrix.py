"""Kill a real process at every call to Stripe and to the scan service, before and after the call takes effect.

After the restart no caller repeats its request: the sweepers settle everything, with one charge and one refund at
Stripe. A few points are tried by default; TICKETING_CRASH_POINTS=0 tries all, another TICKETING_CRASH_SEED others.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.databases import execute
from tests.processes.ticket_service import TicketProcess
from tests.selling.shop import Shop, money, new_id
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, DECLINED, KEY, SECURE, StripeStandIn
from ticket_service.adapters.stripe.records import read_records
from ticket_service.commands.audit import audit
from ticketing.scans.v1.revocation_service_pb2 import RevokeEventResponse, RevokeTicketsResponse
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

PRICE = 2_500
POINTS = int(os.environ.get("TICKETING_CRASH_POINTS", "2"))
SEED = int(os.environ.get("TICKETING_CRASH_SEED", "1"))
# The tables of the sweepers: the test makes their rows due at once.
DUE = ("purchases", "cancellations", "reissues", "callings_off", "refund_orders", "reconciliation_queue")
# The reconciler reads everything again, as it does once a day, unless a look is under way.
LOOK_AGAIN = """
    UPDATE reconciliation_progress SET due_time = now(), whole_success_time = NULL
    WHERE due_time > now() AND begin_time IS NULL
"""


# The reconciler reads these at any time, and none of them changes anything.
LOOKS = {"list_intents", "list_refunds", "list_disputes"}


class KillingScans(ScansStandIn):
    """A stand-in for the scan service that kills its caller at a point."""

    def __init__(self, on_arrival: Callable[[str], None], on_done: Callable[[str], None]) -> None:
        super().__init__()
        self._on_arrival = on_arrival
        self._on_done = on_done

    async def RevokeTickets(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        return await self._called("RevokeTickets", super().RevokeTickets(request, context), RevokeTicketsResponse())

    async def RevokeEvent(self, request: Any, context: Any) -> Any:  # noqa: N802 - as above
        return await self._called("RevokeEvent", super().RevokeEvent(request, context), RevokeEventResponse())

    async def _called(self, operation: str, work: Coroutine[Any, Any, Any], nothing: Any) -> Any:
        try:
            self._on_arrival(operation)
            answer = await work
            self._on_done(operation)
        except ConnectionError:
            # The caller is dead, so the answer does not matter.
            work.close()
            return nothing
        return answer


@dataclass
class World:
    """A ticket service that is killed at a point, and the services that it calls."""

    variables: dict[str, str]
    issuer: Issuer
    url: URL
    stripe: StripeStandIn
    process: TicketProcess | None = None
    channel: grpc.aio.Channel | None = None
    # The calls of the journey so far, and the number and side ("before", "after") of the call to kill at.
    calls: list[str] = field(default_factory=list)
    planned: tuple[int, str] | None = None
    # Equals `planned` once the journey has begun.
    point: tuple[int, str] | None = None

    async def start(self) -> None:
        self.process = await asyncio.to_thread(TicketProcess, self.variables)
        if self.channel is not None:
            await self.channel.close()
        self.channel = grpc.aio.insecure_channel(self.process.address)
        self.shop = Shop(self.channel, self.issuer)
        self.tickets = TicketServiceStub(self.channel)

    async def stop(self) -> None:
        if self.channel is not None:
            await self.channel.close()
        if self.process is not None:
            await asyncio.to_thread(self.process.end, signal.SIGKILL)

    def begin(self) -> None:
        """Count calls from here on; earlier ones prepared the journey."""
        self.calls.clear()
        self.point, self.planned = self.planned, None

    def arrives(self, operation: str) -> None:
        """Count a call, and kill the service if this is the point."""
        if operation in LOOKS:
            return
        self.calls.append(operation)
        self._kill("before")

    def done(self, operation: str) -> None:
        """Kill the service if this is the point."""
        if operation not in LOOKS:
            self._kill("after")

    def _kill(self, moment: str) -> None:
        if self.point == (len(self.calls), moment) and self.process is not None:
            self.point = None
            self.process.end(signal.SIGKILL)
            raise ConnectionError("its caller is dead")

    async def try_to(self, call: Awaitable[Any]) -> Any:
        """Make a call that may get no answer."""
        try:
            return await call
        except grpc.aio.AioRpcError:
            return None

    async def settles(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a condition is true; restart the service whenever it is dead."""
        async with asyncio.timeout(90):
            while True:
                if self.process is not None and self.process.has_ended():
                    await self.start()
                for table in DUE:
                    update = f"UPDATE {table} SET due_time = now() WHERE due_time > now()"
                    await asyncio.to_thread(execute, self.url, update)
                await asyncio.to_thread(execute, self.url, LOOK_AGAIN)
                try:
                    if await condition():
                        return
                except grpc.aio.AioRpcError:
                    # The service was killed meanwhile.
                    assert self.process is not None
                    await asyncio.to_thread(self.process.end, signal.SIGKILL)

    async def answers(self, call: Awaitable[Any]) -> bool:
        """Return True once a call was answered."""
        await call
        return True

    async def has_status(self, one: ticket_pb2.Cancellation, status: int) -> bool:
        get = pb.GetCancellationRequest(cancellation_id=one.cancellation_id)
        answer = await self.tickets.GetCancellation(get, metadata=self.shop.metadata())
        return bool(answer.cancellation.status == status)

    async def has_dispute(self, bought: purchase_pb2.Purchase, status: int) -> bool:
        return [dispute.status for dispute in (await self.shop.read(bought)).disputes] == [status]

    async def event(self) -> event_pb2.Event:
        return await self.shop.on_sale(ticket_price=money(PRICE), max_participants=10)

    async def purchase(self, event: event_pb2.Event) -> purchase_pb2.Purchase | None:
        """Read the only purchase of an event, with its tickets."""
        request = purchasing.ListPurchasesRequest(event_id=event.event_id)
        listed = await self.shop.purchases.ListPurchases(request, metadata=self.shop.metadata())
        if not listed.purchases:
            return None
        get = purchasing.GetPurchaseRequest(purchase_id=listed.purchases[0].purchase_id)
        return (await self.shop.purchases.GetPurchase(get, metadata=self.shop.metadata())).purchase

    async def left(self, event: event_pb2.Event) -> int:
        return (await self.shop.get(event.event_id)).available_tickets


Journey = Callable[[World], Awaitable[None]]


async def paid_purchase(world: World) -> None:
    event = await world.event()
    world.begin()
    await world.try_to(world.shop.buy(event.event_id, payment_method_id=CARD))

    async def is_settled() -> bool:
        found = await world.purchase(event)
        return found is not None and found.status == purchase_pb2.PURCHASE_STATUS_COMPLETED and len(found.tickets) == 1

    await world.settles(is_settled)
    bought = await world.purchase(event)
    assert bought is not None
    assert (world.stripe.charged()[bought.purchase_id], await world.left(event)) == (PRICE, 9)


async def declined_purchase(world: World) -> None:
    event = await world.event()
    world.begin()
    await world.try_to(world.shop.buy(event.event_id, payment_method_id=DECLINED))

    async def is_settled() -> bool:
        found = await world.purchase(event)
        return found is not None and found.status == purchase_pb2.PURCHASE_STATUS_DECLINED

    await world.settles(is_settled)
    assert await world.left(event) == 10
    found = await world.purchase(event)
    assert found is not None
    assert (found.purchase_id in world.stripe.charged(), found.payment.decline_code) == (False, "insufficient_funds")


async def secure_purchase(world: World) -> None:
    event = await world.event()
    held = await world.shop.buy(event.event_id, payment_method_id=SECURE)
    world.stripe.finish(held.payment.payment_id)
    world.begin()
    request = purchasing.ConfirmPurchaseRequest(purchase_id=held.purchase_id)
    await world.try_to(world.shop.purchases.ConfirmPurchase(request, metadata=world.shop.metadata()))

    async def is_settled() -> bool:
        found = await world.purchase(event)
        return found is not None and found.status == purchase_pb2.PURCHASE_STATUS_COMPLETED

    await world.settles(is_settled)
    assert world.stripe.charged()[held.purchase_id] == PRICE


async def cancellation(world: World) -> None:
    event = await world.event()
    bought = await world.shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    world.begin()
    request = pb.CancelTicketRequest(ticket_id=bought.tickets[0].ticket_id)
    await world.try_to(world.tickets.CancelTicket(request, metadata=world.shop.metadata()))

    async def is_settled() -> bool:
        listing = pb.ListCancellationsRequest(event_id=event.event_id)
        listed = await world.tickets.ListCancellations(listing, metadata=world.shop.metadata())
        return [one.status for one in listed.cancellations] == [ticket_pb2.CANCELLATION_STATUS_DONE]

    await world.settles(is_settled)
    assert world.stripe.refunded()[bought.purchase_id] == PRICE
    assert await world.left(event) == 9


async def refund_of_a_part(world: World) -> None:
    event = await world.event()
    bought = await world.shop.buy(event.event_id, payment_method_id=CARD)
    world.begin()
    organizer = world.shop.metadata(Shop.OLGA)
    request = pb.RefundTicketRequest(
        request_id=new_id(), ticket_id=bought.tickets[0].ticket_id, amount=money(PRICE // 5)
    )
    await world.try_to(world.tickets.RefundTicket(request, metadata=organizer))

    async def is_settled() -> bool:
        owed = await world.tickets.ListOwedRefunds(pb.ListOwedRefundsRequest(), metadata=organizer)
        return not owed.refunds

    await world.settles(is_settled)
    assert world.stripe.refunded()[bought.purchase_id] == PRICE // 5
    assert await world.left(event) == 9


async def transfer(world: World) -> None:
    event = await world.event()
    bought = await world.shop.buy(event.event_id, payment_method_id=CARD)
    world.begin()
    request = pb.TransferTicketRequest(ticket_id=bought.tickets[0].ticket_id, user_id="carol", request_id=new_id())
    await world.try_to(world.tickets.TransferTicket(request, metadata=world.shop.metadata()))

    async def is_settled() -> bool:
        get = pb.ListTicketsRequest(event_id=event.event_id)
        listed = await world.tickets.ListTickets(get, metadata=world.shop.metadata(("user", "carol")))
        return [(one.issue, bool(one.token)) for one in listed.tickets] == [(2, True)]

    await world.settles(is_settled)
    assert world.stripe.charged()[bought.purchase_id] == PRICE
    assert bought.purchase_id not in world.stripe.refunded()


async def late_failure(world: World) -> None:
    """A refund fails after it was made: it is found, and retried once."""
    event = await world.event()
    bought = await world.shop.buy(event.event_id, payment_method_id=CARD)
    cancel = pb.CancelTicketRequest(ticket_id=bought.tickets[0].ticket_id)
    one = (await world.tickets.CancelTicket(cancel, metadata=world.shop.metadata())).cancellation
    await world.settles(lambda: world.has_status(one, ticket_pb2.CANCELLATION_STATUS_DONE))
    paid = bought.payment.payment_id
    [refund] = [refund for refund in world.stripe.refunds if refund["payment_intent"] == paid]
    world.stripe.settle_refund(refund["id"], "failed")
    world.begin()
    await world.settles(lambda: world.has_status(one, ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED))
    retry = pb.RetryRefundRequest(cancellation_id=one.cancellation_id)
    await world.settles(
        lambda: world.answers(world.tickets.RetryRefund(retry, metadata=world.shop.metadata(Shop.OLGA)))
    )
    await world.settles(lambda: world.has_status(one, ticket_pb2.CANCELLATION_STATUS_DONE))
    assert world.stripe.refunded()[bought.purchase_id] == PRICE


async def dashboard_refund(world: World) -> None:
    """A part was refunded in the dashboard: the cancellation refunds the rest."""
    event = await world.event()
    bought = await world.shop.buy(event.event_id, payment_method_id=CARD)
    world.stripe.refund_in_dashboard(bought.payment.payment_id, 1_000)
    world.begin()
    cancel = pb.CancelTicketRequest(ticket_id=bought.tickets[0].ticket_id)
    await world.try_to(world.tickets.CancelTicket(cancel, metadata=world.shop.metadata()))

    async def is_settled() -> bool:
        listing = pb.ListCancellationsRequest(event_id=event.event_id)
        listed = await world.tickets.ListCancellations(listing, metadata=world.shop.metadata())
        return [one.status for one in listed.cancellations] == [ticket_pb2.CANCELLATION_STATUS_DONE]

    await world.settles(is_settled)
    assert world.stripe.refunded()[bought.purchase_id] == PRICE


async def lost_dispute(world: World) -> None:
    """A dispute is opened and lost while a cancelled ticket waits for its refund: the buyer gets the money once."""
    event = await world.event()
    bought = await world.shop.buy(event.event_id, payment_method_id=CARD)
    dispute = world.stripe.dispute(bought.payment.payment_id)
    await world.settles(lambda: world.has_dispute(bought, purchase_pb2.DISPUTE_STATUS_OPEN))
    world.begin()
    cancel = pb.CancelTicketRequest(ticket_id=bought.tickets[0].ticket_id)
    await world.try_to(world.tickets.CancelTicket(cancel, metadata=world.shop.metadata()))
    world.stripe.close_dispute(dispute["id"], won=False)

    async def is_settled() -> bool:
        listing = pb.ListCancellationsRequest(event_id=event.event_id)
        listed = await world.tickets.ListCancellations(listing, metadata=world.shop.metadata())
        return [one.status for one in listed.cancellations] == [ticket_pb2.CANCELLATION_STATUS_DONE]

    await world.settles(is_settled)
    assert bought.purchase_id not in world.stripe.refunded()
    assert world.stripe.disputed()[bought.purchase_id] == PRICE


async def event_cancellation(world: World) -> None:
    event = await world.event()
    bought = [await world.shop.buy(event.event_id, quantity=2, payment_method_id=CARD) for _ in range(2)]
    late = await world.shop.buy(event.event_id, ("user", "bob"), payment_method_id=SECURE)
    world.begin()
    request = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await world.try_to(world.shop.events.CancelEvent(request, metadata=world.shop.metadata(Shop.OLGA)))
    # The payment arrives after the cancellation of the event.
    world.stripe.finish(late.payment.payment_id)

    async def is_settled() -> bool:
        given_back = world.stripe.refunded()
        wanted = {**{one.purchase_id: 2 * PRICE for one in bought}, late.purchase_id: PRICE}
        if {one: given_back.get(one) for one in wanted} != wanted:
            return False
        get = event_service_pb2.GetEventSalesRequest(event_id=event.event_id)
        sales = await world.shop.events.GetEventSales(get, metadata=world.shop.metadata(Shop.OLGA))
        return sales.refunds_pending == 0

    await world.settles(is_settled)


JOURNEYS: list[Journey] = [
    paid_purchase,
    declined_purchase,
    secure_purchase,
    cancellation,
    refund_of_a_part,
    transfer,
    event_cancellation,
    late_failure,
    dashboard_refund,
    lost_dispute,
]


@pytest.fixture
async def world(environment_of, issuer: Issuer, tickets_url: URL, stripe: StripeStandIn) -> AsyncIterator[World]:
    variables = environment_of(
        TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )
    world = World(variables, issuer, tickets_url, stripe)
    scans = KillingScans(world.arrives, world.done)
    variables["TICKETS_SCANS_ADDRESS"] = f"127.0.0.1:{await scans.start()}"
    stripe.on_arrival, stripe.on_done = world.arrives, world.done
    await world.start()
    yield world
    await world.stop()
    await scans.stop()


@pytest.mark.timeout(900)
async def test_after_a_kill_at_any_call_everything_settles_once(world, tickets_url):
    points: list[tuple[Journey, tuple[int, str], str]] = []
    for journey in JOURNEYS:
        await journey(world)
        for number, call in enumerate(world.calls, 1):
            points += [(journey, (number, moment), call) for moment in ("before", "after")]
    print(f"TICKETING_CRASH_SEED={SEED}, {POINTS or len(points)} of {len(points)} points")
    for journey, point, call in random.Random(SEED).sample(points, POINTS) if POINTS else points:
        print(f"  {journey.__name__}: killed {point[1]} call {point[0]} ({call})")
        world.planned = point
        await journey(world)
        assert world.point is None, "it was never killed"

    def prove() -> tuple[int, list[str]]:
        lines: list[str] = []
        return audit(tickets_url, lines.append, {"stripe": lambda: read_records(KEY, world.stripe.api_base)}), lines

    status, lines = await asyncio.to_thread(prove)
    assert status == 0, "\n".join(lines)
    made = [refund for refund in world.stripe.refunds if refund["status"] == "succeeded"]
    keys = [refund["metadata"]["order_id"] for refund in made if "order_id" in refund["metadata"]]
    assert len(keys) == len(set(keys))
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert (
            connection.execute(sa.text("SELECT count(*) FROM refund_orders WHERE status <> 'DONE'")).scalar_one() == 0
        )
