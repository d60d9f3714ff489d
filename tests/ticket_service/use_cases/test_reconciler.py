"""What happens at Stripe without the service is found, recorded and notified; the figures are counted at the stand-in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL

from tests.environment.backups import back_up, restore
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import Shop, money, new_id
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, KEY, SECURE, SIGNING_SECRET, StripeStandIn
from ticket_service.adapters import scans as adapters_scans
from ticket_service.adapters.stripe import history as stripe_history
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.adapters.stripe.records import read_records
from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticket_service.domain.notifications import Kind
from ticket_service.store.reconciler import enqueue
from ticket_service.store.tables import (
    disputes,
    ledger,
    outbox,
    outside_refunds,
    reconciliation_progress,
    reconciliation_queue,
    tickets,
    unmatched_payments,
)
from ticket_service.use_cases import reconciler as use_case
from ticket_service.use_cases.reconciler import Reconciler
from ticketing.chassis.database import Database
from ticketing.chassis.tasks import Sweepable
from ticketing.tickets.v1 import event_pb2, purchase_pb2, purchase_service_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

DONE, FAILED = ticket_pb2.CANCELLATION_STATUS_DONE, ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED
REFUNDING = ticket_pb2.CANCELLATION_STATUS_REFUNDING
PRICE = 2_500
RETURNED = "a refund that was made outside of this service failed later"
A_DAY, SOON = timedelta(days=1), timedelta(minutes=10)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeouts, because the test machine may be busy."""
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)
    monkeypatch.setattr(adapters_scans, "CALL_SECONDS", 20.0)


@pytest.fixture
def variables(stripe: StripeStandIn, request: pytest.FixtureRequest) -> dict[str, str]:
    return {
        "TICKETS_SWEEP_SECONDS": "0.1",
        "TICKETS_STRIPE_KEY": KEY,
        "TICKETS_STRIPE_API_BASE": stripe.api_base,
        "TICKETS_BLOCK_DISPUTED": "yes",
        **getattr(request, "param", {}),
    }


class StillReconciler(App):
    """A ticket service whose reconciler looks when the test says so; its other sweepers run."""

    reconciler: Reconciler

    def _sweep(self, name: str, work: Sweepable) -> None:
        if isinstance(work, Reconciler):
            self.reconciler = work
        else:
            super()._sweep(name, work)


@pytest.fixture
async def app(
    make_settings: Any, tickets_url: URL, clock: Any, variables: dict[str, str], scans: ScansStandIn
) -> StillReconciler:
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}", **variables)
    return StillReconciler(settings, tickets_url, clock)


@pytest.fixture
def audit_status() -> int:
    """Return the status with which the audit ends after the test."""
    return 0


@pytest.fixture
async def service(
    app: StillReconciler, tickets_url: URL, stripe: StripeStandIn, audit_status: int
) -> AsyncIterator[str]:
    """Run a ticket service that charges cards; after the test, its money agrees with Stripe's."""
    async with running(app) as address:
        yield address
    stripe_url = stripe.api_base
    lines: list[str] = []
    records = {"stripe": lambda: read_records(KEY, stripe_url)}
    assert await asyncio.to_thread(audit, tickets_url, lines.append, records) == audit_status, "\n".join(lines)


@dataclass
class Desk:
    """Clients of the service, its reconciler and Stripe."""

    shop: Shop
    stub: Any
    stripe: StripeStandIn
    clock: Any
    database: Database
    app: StillReconciler

    async def look(self, later: timedelta = timedelta()) -> None:
        """Let time pass, and then look at Stripe until nothing is due."""
        self.clock.advance(later)
        while await self.app.reconciler.sweep():
            pass
        # The last page may have made payments due.
        while await self.app.reconciler.sweep():
            pass

    async def cancel(self, ticket_id: str) -> ticket_pb2.Cancellation:
        request = pb.CancelTicketRequest(ticket_id=ticket_id)
        return (await self.stub.CancelTicket(request, metadata=self.shop.metadata())).cancellation

    async def retry(self, one: ticket_pb2.Cancellation) -> None:
        request = pb.RetryRefundRequest(cancellation_id=one.cancellation_id)
        await self.stub.RetryRefund(request, metadata=self.shop.metadata(Shop.OLGA))

    async def pay_by_hand(self, one: ticket_pb2.Cancellation) -> None:
        """Confirm the refused refund of a cancellation as paid by bank transfer."""
        request = pb.ConfirmRefundRequest(
            cancellation_id=one.cancellation_id, refund_id="transfer 7", paid_by_hand=True
        )
        await self.stub.ConfirmRefund(request, metadata=self.shop.metadata(Shop.OLGA))

    async def becomes(self, one: ticket_pb2.Cancellation, status: int) -> ticket_pb2.Cancellation:
        """Wait until a cancellation has a status; return it."""
        request = pb.GetCancellationRequest(cancellation_id=one.cancellation_id)

        async def read() -> ticket_pb2.Cancellation:
            return (await self.stub.GetCancellation(request, metadata=self.shop.metadata())).cancellation

        async def has_status() -> bool:
            return (await read()).status == status

        await until(has_status)
        return await read()

    async def refund_part(self, ticket_id: str, amount: int) -> None:
        """Refund a part of the price of a ticket that stays valid."""
        request = pb.RefundTicketRequest(request_id=new_id(), ticket_id=ticket_id, amount=money(amount))
        await self.stub.RefundTicket(request, metadata=self.shop.metadata(Shop.OLGA))

    async def owed(self) -> list[tuple[int, str]]:
        """Return the amounts of the owed refunds, each with the provider's reason."""
        listed = await self.stub.ListOwedRefunds(pb.ListOwedRefundsRequest(), metadata=self.shop.metadata(Shop.OLGA))
        return [(one.amount.minor_units, one.failure) for one in listed.refunds]

    async def owes_nothing_in_an_hour(self) -> bool:
        self.clock.advance(timedelta(hours=1))
        return not await self.owed()

    async def kinds(self) -> list[str]:
        """Return the kinds of all notifications, in order."""
        query = sa.select(outbox.c.kind).order_by(outbox.c.position)
        return await self.database.run(lambda c: list(c.execute(query).scalars()))

    async def rows(self, table: sa.Table) -> list[sa.Row[Any]]:
        return await self.database.run(lambda c: list(c.execute(sa.select(table))))

    async def entered(self, kind: str) -> list[int]:
        """Return the amounts in the ledger of one kind."""
        query = sa.select(ledger.c.amount).where(ledger.c.kind == kind)
        return await self.database.run(lambda c: list(c.execute(query).scalars()))

    async def statuses(self) -> list[str]:
        """Return the statuses of all tickets, in the order of their ids."""
        query = sa.select(tickets.c.status).order_by(tickets.c.ticket_id)
        return await self.database.run(lambda c: list(c.execute(query).scalars()))


@pytest.fixture
def desk(  # noqa: PLR0913, PLR0917 - the parts of the desk
    shop: Shop, channel: grpc.aio.Channel, stripe: StripeStandIn, clock: Any, database: Database, app: StillReconciler
) -> Desk:
    return Desk(shop, TicketServiceStub(channel), stripe, clock, database, app)


@pytest.fixture
async def event(shop: Shop) -> event_pb2.Event:
    return await shop.on_sale(ticket_price=money(PRICE), max_participants=4)


@pytest.fixture
def bought(shop: Shop, event: event_pb2.Event) -> Awaitable[purchase_pb2.Purchase]:
    """Buy two tickets by card."""
    return shop.buy(event.event_id, quantity=2, payment_method_id=CARD)


async def test_a_refund_that_fails_later_is_due_again(desk: Desk, bought: Awaitable[purchase_pb2.Purchase]) -> None:
    purchase = await bought
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(one.refund_id, "failed", "expired_or_canceled_card")
    await desk.look(A_DAY)
    failed = await desk.becomes(one, FAILED)
    assert (failed.failure, failed.refund_id) == ("expired_or_canceled_card", "")
    assert (await desk.kinds())[-1] == Kind.REFUND_FAILED
    assert await desk.entered("REFUND_RETURNED") == [PRICE]
    await desk.retry(one)
    again = await desk.becomes(one, DONE)
    assert again.refund_id not in {"", one.refund_id}
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_failed_refund_of_a_late_payment_is_made_again(desk: Desk, event: event_pb2.Event) -> None:
    held = await desk.shop.buy(event.event_id, payment_method_id=SECURE)
    await desk.shop.release(held)
    await desk.shop.buy(event.event_id, quantity=4, payment_method_id=CARD)
    desk.stripe.capture(held.payment.payment_id)
    await desk.look(A_DAY)

    async def refunded() -> int:
        return desk.stripe.refunded().get(held.purchase_id, 0)

    async def is_refunded() -> bool:
        return (await desk.shop.read(held)).status == purchase_pb2.PURCHASE_STATUS_REFUNDED

    await until(is_refunded)
    [refund] = [one for one in desk.stripe.refunds if one["payment_intent"] == held.payment.payment_id]
    desk.stripe.settle_refund(refund["id"], "failed")
    assert await refunded() == 0

    await desk.look(A_DAY)
    assert (await desk.shop.read(held)).status == purchase_pb2.PURCHASE_STATUS_REFUNDING

    async def is_refunded_in_an_hour() -> bool:
        desk.clock.advance(timedelta(hours=1))
        return await refunded() == PRICE and await is_refunded()

    await until(is_refunded_in_an_hour)
    assert Kind.REFUND_FAILED in await desk.kinds()


async def test_a_refunded_part_that_fails_later_is_made_again(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    await desk.refund_part(purchase.tickets[0].ticket_id, 700)
    await until(desk.owed, [])
    desk.stripe.settle_refund(desk.stripe.refunds[0]["id"], "failed", "expired_or_canceled_card")
    await desk.look(A_DAY)
    await until(desk.owed, [(700, "expired_or_canceled_card")])
    assert (await desk.kinds())[-1] == Kind.REFUND_FAILED
    assert await desk.entered("REFUND_RETURNED") == [700]
    await until(desk.owes_nothing_in_an_hour)
    assert desk.stripe.refunded() == {purchase.purchase_id: 700}


async def test_a_refused_part_counts_a_refund_from_the_dashboard(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refuses_refunds = "the balance is too low"
    await desk.refund_part(purchase.tickets[0].ticket_id, 700)
    await until(desk.owed, [(700, "the balance is too low")])
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 700)
    await until(desk.owes_nothing_in_an_hour)
    assert desk.stripe.refunded() == {purchase.purchase_id: 700}
    # The money comes back, so the part is due again.
    desk.stripe.refuses_refunds = ""
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    assert [amount for amount, _ in await desk.owed()] == [700]
    await until(desk.owes_nothing_in_an_hour)
    assert desk.stripe.refunded() == {purchase.purchase_id: 700}


async def test_a_cancelled_ticket_counts_a_refund_from_the_dashboard(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refund_in_dashboard(purchase.payment.payment_id)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    assert one.refund_id == desk.stripe.refunds[0]["id"]
    other = await desk.becomes(await desk.cancel(purchase.tickets[1].ticket_id), DONE)
    assert other.refund_id == one.refund_id
    assert desk.stripe.refunded() == {purchase.purchase_id: 2 * PRICE}
    assert Kind.REFUND_RECORDED in await desk.kinds()


async def test_a_partial_dashboard_refund_leaves_the_rest_to_refund(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    assert [refund["amount"] for refund in desk.stripe.refunds] == [1_000, 1_500]
    await desk.becomes(await desk.cancel(purchase.tickets[1].ticket_id), DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: 2 * PRICE}


async def test_a_refused_refund_is_done_by_a_later_dashboard_refund(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refuses_refunds = "insufficient funds"
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), FAILED)
    desk.stripe.refuses_refunds = ""
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, PRICE)
    await desk.look(A_DAY)
    done = await desk.becomes(one, DONE)
    assert (done.refund_id, done.failure) == (refund["id"], "")
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_counted_dashboard_refund_that_fails_is_due_again(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, PRICE)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    await desk.becomes(one, FAILED)
    await desk.retry(one)
    await desk.becomes(one, DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_partly_counted_dashboard_refund_that_fails_is_owed_once(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    await desk.look(A_DAY)
    await desk.becomes(one, FAILED)
    assert await desk.owed() == [(1_000, RETURNED)]
    assert (await desk.kinds()).count(Kind.REFUND_FAILED) == 2
    await desk.retry(one)
    await desk.becomes(one, DONE)
    await desk.look(A_DAY)
    assert [made["amount"] for made in desk.stripe.refunds] == [1_000, 1_500, 1_000]
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_returned_part_that_is_refused_may_be_paid_by_hand(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    desk.stripe.refuses_refunds = "insufficient funds"
    await desk.retry(one)
    await until(desk.owed, [(1_000, "insufficient funds")])
    await desk.pay_by_hand(one)
    await desk.becomes(one, DONE)
    await desk.look(A_DAY)
    assert await desk.owed() == []
    assert desk.stripe.refunded() == {purchase.purchase_id: 1_500}
    assert sum(await desk.entered("REFUNDED")) - sum(await desk.entered("REFUND_RETURNED")) == PRICE


async def test_a_returned_part_of_a_ticket_refund_is_made_again(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 300)
    await desk.refund_part(purchase.tickets[0].ticket_id, 700)
    await until(desk.owed, [])
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    assert [amount for amount, _ in await desk.owed()] == [300]
    await until(desk.owes_nothing_in_an_hour)
    assert [made["amount"] for made in desk.stripe.refunds] == [300, 400, 300]
    assert desk.stripe.refunded() == {purchase.purchase_id: 700}


async def test_a_returned_part_of_a_late_payment_is_refunded_again(desk: Desk, event: event_pb2.Event) -> None:
    held = await desk.shop.buy(event.event_id, payment_method_id=SECURE)
    await desk.shop.release(held)
    await desk.shop.buy(event.event_id, quantity=4, payment_method_id=CARD)
    desk.stripe.capture(held.payment.payment_id)
    refund = desk.stripe.refund_in_dashboard(held.payment.payment_id, 1_000)
    await desk.look(A_DAY)

    async def is_refunded() -> bool:
        return (await desk.shop.read(held)).status == purchase_pb2.PURCHASE_STATUS_REFUNDED

    await until(is_refunded)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    assert [amount for amount, _ in await desk.owed()] == [1_000]
    await until(desk.owes_nothing_in_an_hour)
    assert await is_refunded()
    assert desk.stripe.refunded() == {held.purchase_id: PRICE}


@pytest.mark.parametrize("own_first", [True, False])
async def test_both_parts_of_a_refund_that_return_are_owed(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase], *, own_first: bool
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(refund["id"], "failed")
    desk.stripe.settle_refund(one.refund_id, "failed")
    if own_first:
        desk.stripe.refunds.reverse()
    await desk.look(A_DAY)
    await desk.becomes(one, FAILED)
    assert [amount for amount, _ in await desk.owed()] == [PRICE]
    await desk.retry(one)
    await desk.becomes(one, DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_refund_whose_two_parts_return_one_after_the_other_is_owed(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    await desk.retry(one)
    again = await desk.becomes(one, DONE)
    desk.stripe.settle_refund(one.refund_id, "failed")
    await desk.look(A_DAY)
    assert [amount for amount, _ in await desk.owed()] == [1_500]
    await desk.retry(again)
    await desk.becomes(one, DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_refused_rest_is_owed_with_the_part_that_returned(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    desk.stripe.refuses_refunds = "insufficient funds"
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), FAILED)
    assert await desk.owed() == [(1_500, "insufficient funds")]
    desk.stripe.refuses_refunds = ""
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    assert [amount for amount, _ in await desk.owed()] == [PRICE]
    await desk.retry(one)
    await desk.becomes(one, DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


@pytest.mark.parametrize("audit_status", [1])
async def test_a_returned_part_of_a_refund_paid_by_hand_is_logged(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase], caplog: pytest.LogCaptureFixture
) -> None:
    purchase = await bought
    refund = desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 1_000)
    desk.stripe.refuses_refunds = "insufficient funds"
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), FAILED)
    await desk.pay_by_hand(one)
    desk.stripe.settle_refund(refund["id"], "failed")
    await desk.look(A_DAY)
    [record] = [found for found in caplog.records if "pay this amount by hand" in found.message]
    assert (record.__dict__["payment_id"], record.__dict__["minor_units"]) == (purchase.payment.payment_id, 1_000)


@pytest.mark.parametrize("looks_first", [True, False])
async def test_a_refund_is_not_made_twice_after_a_restore(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase], tickets_url: URL, *, looks_first: bool
) -> None:
    purchase = await bought
    backup = await asyncio.to_thread(back_up, tickets_url)
    ticket_id = purchase.tickets[0].ticket_id
    first = await desk.becomes(await desk.cancel(ticket_id), DONE)
    await asyncio.to_thread(restore, tickets_url, backup)
    # The database has forgotten the cancellation, and Stripe its idempotency keys.
    desk.clock.advance(A_DAY)
    if looks_first:
        await desk.look()
    again = await desk.cancel(ticket_id)
    assert again.cancellation_id != first.cancellation_id
    assert (await desk.becomes(again, DONE)).refund_id == first.refund_id
    assert desk.stripe.refunded() == {purchase.purchase_id: PRICE}


async def test_a_dashboard_refund_is_found_by_the_next_look(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 700)
    await desk.look(SOON)

    async def recorded() -> list[tuple[int, int]]:
        return [(row.amount, row.credited) for row in await desk.rows(outside_refunds)]

    await until(recorded, [(700, 0)])
    assert await desk.entered("REFUNDED") == [700]


async def test_a_charge_of_a_released_purchase_buys_places_that_are_left(desk: Desk, event: event_pb2.Event) -> None:
    held = await desk.shop.buy(event.event_id, payment_method_id=SECURE)
    await desk.shop.release(held)
    desk.stripe.capture(held.payment.payment_id)
    await desk.look(SOON)

    async def status() -> int:
        return (await desk.shop.read(held)).status

    await until(status, purchase_pb2.PURCHASE_STATUS_COMPLETED)
    assert len((await desk.shop.read(held)).tickets) == 1


async def test_an_open_dispute_blocks_tickets_and_delays_refunds(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    one = await desk.cancel(purchase.tickets[0].ticket_id)
    await desk.becomes(one, DONE)
    dispute = desk.stripe.dispute(purchase.payment.payment_id, PRICE)
    await desk.look(SOON)
    await until(desk.statuses, ["REFUNDED", "BLOCKED"])
    assert (await desk.kinds())[-1] == Kind.DISPUTE_OPENED
    [row] = await desk.rows(disputes)
    assert (row.status, row.amount, row.reason) == ("OPEN", PRICE, "fraudulent")
    desk.stripe.close_dispute(dispute["id"], won=True)
    await desk.look(A_DAY)
    await until(desk.statuses, ["REFUNDED", "ACTIVE"])
    assert (await desk.kinds())[-1] == Kind.DISPUTE_CLOSED
    await desk.becomes(await desk.cancel(purchase.tickets[1].ticket_id), DONE)
    assert desk.stripe.refunded() == {purchase.purchase_id: 2 * PRICE}


@pytest.mark.parametrize("variables", [{"TICKETS_BLOCK_DISPUTED": "no"}], indirect=True)
async def test_a_lost_dispute_counts_as_the_refund(desk: Desk, bought: Awaitable[purchase_pb2.Purchase]) -> None:
    purchase = await bought
    dispute = desk.stripe.dispute(purchase.payment.payment_id, 2 * PRICE)
    await desk.look(SOON)
    await until(lambda: desk.entered("DISPUTED"), [2 * PRICE])
    assert await desk.statuses() == ["ACTIVE", "ACTIVE"]
    one = await desk.cancel(purchase.tickets[0].ticket_id)
    assert one.status == REFUNDING
    desk.stripe.close_dispute(dispute["id"], won=False)
    await desk.look(A_DAY)
    await desk.becomes(one, DONE)
    assert desk.stripe.refunded() == {}
    assert desk.stripe.disputed() == {purchase.purchase_id: 2 * PRICE}
    assert await desk.entered("DISPUTE_LOST") == [2 * PRICE]


async def test_a_payment_without_a_purchase_is_reported(desk: Desk, event: event_pb2.Event) -> None:
    facts = {"purchase_id": "0197a2b0-1111-7000-8000-000000000001", "event_id": event.event_id}
    lost = desk.stripe.new_intent(PRICE, "eur", CARD, facts)
    desk.stripe.capture(lost["id"])
    await desk.look(SOON)

    async def unmatched() -> list[tuple[str, int]]:
        return [(row.payment_id, row.refunded) for row in await desk.rows(unmatched_payments)]

    await until(unmatched, [(lost["id"], 0)])
    assert (await desk.kinds()).count(Kind.PAYMENT_UNMATCHED) == 1
    # The operator refunds it, and the audit is clean.
    desk.stripe.refund_in_dashboard(lost["id"])
    await desk.look(SOON)
    await until(unmatched, [(lost["id"], PRICE)])


async def test_a_look_continues_with_the_page_where_it_was_interrupted(
    desk: Desk, event: event_pb2.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.look()
    for _ in range(3):
        await desk.shop.buy(event.event_id, payment_method_id=CARD)
    for payment_id in list(desk.stripe.intents):
        desk.stripe.refund_in_dashboard(payment_id, 100)
    monkeypatch.setattr(stripe_history, "PAGE", 2)
    desk.clock.advance(SOON)
    # The first listing ends, and the second page of the refunds gets no answer.
    calls: list[str] = []

    def on_arrival(name: str) -> None:
        calls.append(name)
        if name == "list_refunds" and calls.count(name) == 2:
            raise ConnectionError

    desk.stripe.on_arrival = on_arrival
    with monkeypatch.context() as patch:
        # The comparison of a payment lists its refunds as well.
        patch.setattr(use_case, "PAYMENTS", 0)
        await desk.app.reconciler.sweep()
    [stopped] = await desk.rows(reconciliation_progress)
    assert (stopped.listing, stopped.failures, stopped.after is not None) == ("REFUNDS", 1, True)
    await desk.look(timedelta(seconds=30))
    assert len(await desk.rows(outside_refunds)) == 3
    # No charge is listed again.
    assert calls.count("list_intents") == 2


async def test_an_outage_of_the_provider_delays_the_look(desk: Desk) -> None:
    def last_look() -> float:
        return REGISTRY.get_sample_value("provider_look_timestamp_seconds", {"provider": "stripe"}) or 0.0

    await desk.look()
    last = last_look()
    desk.stripe.fails["list_intents"] = 500
    await desk.look(SOON)
    assert last_look() == last > 0
    del desk.stripe.fails["list_intents"]
    await desk.look(SOON)
    assert last_look() > last


async def test_a_payment_that_cannot_be_compared_stops_no_other(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    desk.stripe.refund_in_dashboard(purchase.payment.payment_id, 100)
    now = desk.clock()
    await desk.database.run(lambda c: enqueue(c, "stripe", ["pi_unknown", purchase.payment.payment_id], now))
    desk.stripe.fails["retrieve"] = 500
    await desk.look()
    assert [row.attempts > 0 for row in await desk.rows(reconciliation_queue)] == [True, True]
    del desk.stripe.fails["retrieve"]
    await desk.look(timedelta(minutes=16))
    assert await desk.rows(reconciliation_queue) == []
    assert len(await desk.rows(outside_refunds)) == 1


@pytest.mark.parametrize(
    "variables",
    [{"TICKETS_PROVIDER_WEBHOOK_PORT": "0", "TICKETS_STRIPE_WEBHOOK_SECRETS": f"whsec_old, {SIGNING_SECRET}"}],
    indirect=True,
)
async def test_events_in_any_order_and_repeated_have_the_effect_of_a_look(
    desk: Desk, bought: Awaitable[purchase_pb2.Purchase]
) -> None:
    purchase = await bought
    one = await desk.becomes(await desk.cancel(purchase.tickets[0].ticket_id), DONE)
    desk.stripe.settle_refund(one.refund_id, "failed", "lost_or_stolen_card")
    dispute = desk.stripe.dispute(purchase.payment.payment_id, PRICE)
    desk.stripe.close_dispute(dispute["id"], won=True)
    events = desk.stripe.events_of("refund.failed", "refund.created", "charge.dispute.created", "charge.dispute.closed")
    url = f"http://127.0.0.1:{desk.app.webhook_port}/webhooks/stripe"
    statuses = await asyncio.to_thread(desk.stripe.deliver, url, *reversed(events), *events)
    assert set(statuses) == {200}
    # The events are in the queue; no listing is read.
    while await desk.rows(reconciliation_queue):
        await desk.app.reconciler.sweep()
    assert (await desk.becomes(one, FAILED)).failure == "lost_or_stolen_card"
    assert [row.status for row in await desk.rows(disputes)] == ["WON"]
    kinds = await desk.kinds()
    assert (kinds.count(Kind.REFUND_FAILED), kinds.count(Kind.DISPUTE_CLOSED)) == (1, 1)
    listing = purchase_service_pb2.ListDisputesRequest(status=purchase_pb2.DISPUTE_STATUS_WON)
    listed = await desk.shop.purchases.ListDisputes(listing, metadata=desk.shop.metadata(Shop.OLGA))
    assert [found.provider_dispute_id for found in listed.disputes] == [dispute["id"]]
    assert (await desk.shop.read(purchase)).disputes == listed.disputes
