"""Test that the audit finds nothing after normal use, and each promise that a statement breaks."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.shop import STANDARD, Shop, money, new_id
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.stripe import CARD, DECLINED, KEY, SECURE, StripeStandIn
from ticket_service.adapters.stripe.records import read_records
from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticket_service.domain import reconciliation
from ticket_service.store.audit import CHECKS
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, refund_pb2, ticket_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

PRICE = 2_500


@pytest.fixture
async def service(make_settings, tickets_url: URL, clock, scans: ScansStandIn, stripe: StripeStandIn):
    """Run a ticket service beside stand-ins for the scan service and for Stripe."""
    port = await scans.start()
    settings = make_settings(
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{port}",
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address


async def paid(shop: Shop, event_id: str, payment_id: str, quantity: int = 1) -> purchase_pb2.Purchase:
    payment = {"external_payment_id": payment_id, "expected_total": money(quantity * PRICE)}
    return await shop.buy(event_id, Shop.BACKEND, user_id="alice", quantity=quantity, **payment)


async def charged(shop: Shop, tickets: Any, stripe: StripeStandIn) -> None:
    """Charge and refund cards; one charge is declined and one refund refused."""
    event = await shop.on_sale(ticket_price=money(PRICE))
    await shop.buy(event.event_id, payment_method_id=DECLINED)
    bought = await shop.buy(event.event_id, quantity=3, payment_method_id=CARD)
    for number, refuses in enumerate(["", "closed"]):
        stripe.refuses_refunds = refuses
        cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=bought.tickets[number].ticket_id)
        told = (await tickets.CancelTicket(cancel, metadata=shop.metadata())).cancellation
        get = ticket_service_pb2.GetCancellationRequest(cancellation_id=told.cancellation_id)

        async def is_decided(get: ticket_service_pb2.GetCancellationRequest = get) -> bool:
            answer = await tickets.GetCancellation(get, metadata=shop.metadata())
            return answer.cancellation.status != ticket_pb2.CANCELLATION_STATUS_REFUNDING

        await until(is_decided)
    stripe.refuses_refunds = ""
    part = ticket_service_pb2.RefundTicketRequest(
        request_id=new_id(), ticket_id=bought.tickets[2].ticket_id, amount=money(300)
    )

    async def is_made() -> bool:
        answer = await tickets.RefundTicket(part, metadata=shop.metadata(Shop.OLGA))
        return answer.refund.status == refund_pb2.TICKET_REFUND_STATUS_DONE

    await until(is_made)


@pytest.fixture
async def history(shop: Shop, channel: grpc.aio.Channel, clock, stripe: StripeStandIn) -> None:
    """Make every change of places, tickets and money."""
    tickets = TicketServiceStub(channel)
    await charged(shop, tickets, stripe)
    backend, alice = shop.metadata(Shop.BACKEND), shop.metadata()
    offers = [event_pb2.TicketOffer(ticket_type=STANDARD, price=money(PRICE), capacity=20)]
    event = await shop.on_sale(ticket_price=money(PRICE), max_participants=20, offers=offers)
    bought = await paid(shop, event.event_id, "pay-1", quantity=3)
    first, second, third = bought.tickets
    cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=first.ticket_id)
    told = await tickets.CancelTicket(cancel, metadata=alice)
    done = ticket_service_pb2.ConfirmRefundRequest(
        cancellation_id=told.cancellation.cancellation_id, refund_id="refund-1"
    )
    await tickets.ConfirmRefund(done, metadata=backend)
    transfer = ticket_service_pb2.TransferTicketRequest(ticket_id=second.ticket_id, user_id="bob", request_id=new_id())
    await tickets.TransferTicket(transfer, metadata=alice)
    part = ticket_service_pb2.RefundTicketRequest(request_id=new_id(), ticket_id=third.ticket_id, amount=money(500))
    refund = (await tickets.RefundTicket(part, metadata=backend)).refund
    done = ticket_service_pb2.ConfirmRefundRequest(ticket_refund_id=refund.ticket_refund_id, refund_id="refund-2")
    await tickets.ConfirmRefund(done, metadata=backend)
    block = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=third.ticket_id, blocked=True)
    await tickets.SetTicketBlocked(block, metadata=shop.metadata(Shop.OLGA))
    held = await shop.buy(event.event_id)
    for payment_id in ("pay-2", "pay-2 again"):
        await shop.report_payment(held, payment_id)
    late = await shop.buy(event.event_id)
    other = await shop.on_sale(ticket_price=money(PRICE))
    await paid(shop, other.event_id, "pay-3", quantity=2)
    off = event_service_pb2.CancelEventRequest(event_id=other.event_id)
    await shop.events.CancelEvent(off, metadata=shop.metadata(Shop.OLGA))
    clock.advance(timedelta(minutes=10))
    async with asyncio.timeout(20):
        while (await shop.get(other.event_id)).current_participants or (
            await shop.get(event.event_id)
        ).available_tickets < 17:
            pass
    clock.advance(timedelta(days=11))
    await shop.report_payment(late, "pay-4")
    clock.advance(timedelta(days=-11))
    await shop.buy(event.event_id)
    await shop.buy(event.event_id, payment_method_id=SECURE)


def broken(url: URL) -> set[str]:
    """Return the checks that the audit finds broken."""
    lines: list[str] = []
    status = audit(url, lines.append)
    found = {line.removeprefix("    BROKEN ") for line in lines if line.startswith("    BROKEN ")}
    assert status == (1 if found else 0)
    return found


(
    EVENTS,
    OFFERS,
    COSTS,
    TICKETS,
    ORIGIN,
    PAID,
    PAYMENT,
    GIVEN_BACK,
    REFUNDS,
    COUNTED,
    MONEY,
    ADMITTED,
    CHARGES_ENTERED,
    REFUNDS_ENTERED,
    NO_MORE_THAN_TAKEN,
    CREDIT,
    ENDED,
    ORDERED,
    TRIED,
    CURRENCY,
    REVISION,
    ISSUES,
    REQUEST,
    ENDS,
    LEFT_OUT,
    OFF,
) = CHECKS

BREAKS = [
    ("UPDATE events SET reserved = reserved + 1 WHERE max_participants = 20", {EVENTS}),
    ("UPDATE offers SET reserved = reserved - 1", {OFFERS}),
    ("UPDATE purchases SET total = total + 1 WHERE status = 'HELD'", {COSTS}),
    (
        "UPDATE purchases SET status = 'EXPIRED', due_time = NULL, client_secret = NULL, complete_time = now() WHERE status = 'HELD'",
        {EVENTS, OFFERS},
    ),
    (
        "UPDATE purchases SET status = 'COMPLETED', due_time = NULL, client_secret = NULL, complete_time = now() WHERE status = 'HELD'",
        {EVENTS, OFFERS, TICKETS, PAID},
    ),
    ("UPDATE tickets SET purchase_id = gen_random_uuid() WHERE user_id = 'bob'", {ORIGIN, TICKETS}),
    ("DELETE FROM payments WHERE payment_id = 'pay-2'", {PAID, MONEY}),
    ("UPDATE payments SET refund_due = false WHERE payment_id = 'pay-2 again'", {PAID, MONEY}),
    ("UPDATE payments SET refund_id = 'r' WHERE payment_id = 'pay-4'", {PAID}),
    ("UPDATE payments SET purchase_id = gen_random_uuid() WHERE payment_id = 'pay-2 again'", {PAYMENT}),
    ("UPDATE cancellations SET status = 'REJECTED' WHERE refund_id IS NOT NULL", {GIVEN_BACK}),
    ("UPDATE tickets SET status = 'ACTIVE' WHERE status = 'REFUNDED'", {EVENTS, OFFERS, GIVEN_BACK, REFUNDS}),
    ("UPDATE cancellations SET refund_amount = 9999 WHERE refund_id IS NOT NULL", {REFUNDS}),
    ("UPDATE tickets SET refunded = refunded + 1 WHERE refunded > 0", {COUNTED, MONEY}),
    ("UPDATE tickets SET refunded = price + 1 WHERE refunded > 0", {COUNTED, REFUNDS}),
    ("DELETE FROM ticket_refunds WHERE provider = 'external'", {COUNTED, MONEY, REFUNDS_ENTERED, REQUEST}),
    ("UPDATE ticket_refunds SET amount = amount + 1", {COUNTED, MONEY, REFUNDS_ENTERED, ORDERED}),
    ("UPDATE tickets SET check_in_time = now() WHERE status = 'REFUNDED'", {ADMITTED}),
    ("UPDATE ledger SET amount = 1 WHERE payment_id = 'pay-2' AND kind = 'CHARGED'", {CHARGES_ENTERED}),
    ("DELETE FROM payments WHERE provider = 'stripe'", {CHARGES_ENTERED, ORDERED}),
    ("DELETE FROM ledger WHERE refund_id = 'refund-1'", {REFUNDS_ENTERED}),
    ("UPDATE ledger SET amount = 100000 WHERE kind = 'REFUNDED'", {REFUNDS_ENTERED, NO_MORE_THAN_TAKEN}),
    ("DELETE FROM ledger WHERE kind = 'DECLINED'", {ENDED}),
    ("UPDATE ledger SET kind = 'CHARGE_TRIED' WHERE kind = 'CHARGED'", {CHARGES_ENTERED, ENDED}),
    ("UPDATE refund_orders SET amount = amount - 1", {ORDERED}),
    ("DELETE FROM refund_orders WHERE status = 'DONE'", {ORDERED}),
    ("UPDATE refund_orders SET status = 'FAILED', refund_id = NULL WHERE status = 'DONE'", {ORDERED, TRIED}),
    ("UPDATE refund_orders SET credited = 1 WHERE status = 'DONE'", {CREDIT, REFUNDS_ENTERED}),
    ("DELETE FROM ledger WHERE kind = 'REFUND_TRIED'", {TRIED}),
    ("DELETE FROM ledger WHERE kind = 'REFUND_REFUSED'", {TRIED}),
    ("UPDATE events SET currency = 'USD'", {CURRENCY}),
    ("UPDATE tickets SET revision = 1000 WHERE user_id = 'bob'", {REVISION}),
    ("UPDATE tickets SET issue = 1 WHERE user_id = 'bob'", {ISSUES}),
    ("UPDATE idempotency_keys SET result_id = gen_random_uuid() WHERE caller = 'shop'", {REQUEST}),
    (
        "UPDATE events SET start_time = create_time - interval '1 year', end_time = create_time, doors_open_time = NULL",
        {ENDS},
    ),
    ("DELETE FROM callings_off", {OFF}),
    (
        """
        INSERT INTO callings_off (event_id, reason, create_time, gates_closed_time, complete_time, attempts)
        SELECT DISTINCT event_id, '', now(), now(), now(), 0 FROM tickets WHERE status = 'ACTIVE'
        ON CONFLICT (event_id) DO NOTHING
        """,
        {LEFT_OUT, OFF},
    ),
]


@pytest.mark.usefixtures("history")
async def test_audit_finds_each_broken_promise_and_nothing_else(tickets_url):
    assert await asyncio.to_thread(broken, tickets_url) == set()
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    found_at_all = set()
    for statement, expected in BREAKS:
        with engine.connect() as connection:
            # The statement disables the trigger that protects the ledger.
            connection.execute(sa.text("SET session_replication_role = replica"))
            # Restoring the tables is faster than a database for each statement.
            tables = (
                "events",
                "offers",
                "purchases",
                "tickets",
                "payments",
                "cancellations",
                "ticket_refunds",
                "refund_orders",
                "ledger",
                "idempotency_keys",
                "callings_off",
            )
            for table in tables:
                connection.execute(sa.text(f"CREATE TEMP TABLE before_{table} AS SELECT * FROM {table}"))
            assert connection.execute(sa.text(statement)).rowcount, statement
            connection.commit()
            found = await asyncio.to_thread(broken, tickets_url)
            for table in reversed(tables):
                connection.execute(sa.text(f"DELETE FROM {table}"))
            for table in tables:
                connection.execute(sa.text(f"INSERT INTO {table} SELECT * FROM before_{table}"))
            connection.commit()
        assert found >= expected, statement
        found_at_all |= found
    assert found_at_all == set(CHECKS)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE events SET reserved = reserved + 1 WHERE max_participants = 20"))
    lines: list[str] = []
    await asyncio.to_thread(audit, tickets_url, lines.append)
    assert [line for line in lines if line.endswith("6 reserved, 5 taken")]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE events SET reserved = reserved - 1 WHERE max_participants = 20"))
    assert await asyncio.to_thread(broken, tickets_url) == set()


@pytest.mark.parametrize("statement", ["UPDATE ledger SET amount = 0", "DELETE FROM ledger", "TRUNCATE ledger"])
def test_ledger_entries_cannot_be_changed(tickets_url, statement):
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection, pytest.raises(sa.exc.DatabaseError, match="what stands in the ledger stays"):
        connection.execute(sa.text(statement))


RECORD_UNMATCHED = """
    INSERT INTO unmatched_payments
        (provider, payment_id, purchase_id, event_id, currency, amount, refunded, create_time)
    VALUES ('stripe', :payment, 'lost', '', 'EUR', :amount, 0, now())
"""


@pytest.mark.usefixtures("history")
async def test_audit_finds_each_difference_to_the_records_of_stripe(tickets_url, stripe):
    lines: list[str] = []

    def differences() -> tuple[int, set[str]]:
        lines.clear()
        status = audit(tickets_url, lines.append, {"stripe": lambda: read_records(KEY, stripe.api_base)})
        return status, {line.removeprefix("    BROKEN ") for line in lines if line.startswith("    BROKEN ")}

    there, unmatched, here, back_there, back_here, twice, disputed = reconciliation.CHECKS
    assert await asyncio.to_thread(differences) == (0, set())
    assert "           EUR captured: 7500 here, 7500 at the provider" in lines
    assert "           EUR refunded: 2800 here, 2800 at the provider" in lines
    paid = next(one for one in stripe.intents.values() if one["status"] == "succeeded")
    held = next(one for one in stripe.intents.values() if one["status"] == "requires_action")
    given_back = stripe.refunds[0]
    for thing, change, expected in [
        (paid, {"amount": 1}, {there}),
        (paid, {"metadata": {"purchase_id": "another"}}, {there}),
        (paid, {"status": "canceled"}, {here}),
        # The purchase is HELD, so the sweeper settles the payment soon.
        (held, {"status": "succeeded"}, set()),
        (given_back, {"status": "failed"}, {back_here}),
        (given_back, {"amount": 1}, {back_there}),
        (given_back, {"id": "another"}, {back_there, back_here}),
        (given_back, {"metadata": {"purchase_id": "x", "order_id": "another"}}, {back_there}),
        # This payment belongs to another system with the same account.
        (held, {"status": "succeeded", "metadata": {}}, set()),
    ]:
        before = dict(thing)
        thing.update(change)
        assert (await asyncio.to_thread(differences))[1] == expected, change
        thing.update(before)
    stripe.refunds.append({**given_back, "id": "again"})
    assert (await asyncio.to_thread(differences))[1] == {back_there, twice}
    stripe.refunds.pop()
    stripe.refund_in_dashboard(paid["id"], 100)
    assert (await asyncio.to_thread(differences))[1] == {back_there}
    stripe.refunds.pop()
    stripe.dispute(paid["id"])
    assert (await asyncio.to_thread(differences))[1] == {disputed}
    stripe.disputes.clear()
    lost = stripe.new_intent(PRICE, "eur", CARD, {"purchase_id": "lost"})
    stripe.capture(lost["id"])
    assert (await asyncio.to_thread(differences))[1] == {there}
    with sa.create_engine(tickets_url, poolclass=sa.NullPool).begin() as connection:
        values = {"payment": lost["id"], "amount": PRICE}
        connection.execute(sa.text(RECORD_UNMATCHED), values)
    assert (await asyncio.to_thread(differences))[1] == {unmatched}
    stripe.refund_in_dashboard(lost["id"])
    assert (await asyncio.to_thread(differences))[1] == set()
    stripe.fails["list_refunds"] = 401
    assert (await asyncio.to_thread(differences))[0] == 1


@pytest.mark.usefixtures("history")
async def test_audit_finds_a_refund_made_in_spite_of_a_refusal(tickets_url, stripe):
    refused = {**stripe.refunds[0], "id": "in spite"}
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        query = sa.text("SELECT order_id FROM refund_orders WHERE status = 'FAILED'")
        refused["metadata"] = {"purchase_id": "x", "order_id": str(connection.execute(query).scalar_one())}
    stripe.refunds.append(refused)
    lines: list[str] = []
    await asyncio.to_thread(audit, tickets_url, lines.append, {"stripe": lambda: read_records(KEY, stripe.api_base)})
    assert [line for line in lines if line.endswith("refused here")]


def test_audit_command_prints_its_counts(environment_of, tickets_url, stripe):
    variables = environment_of(
        TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
        TICKETS_STRIPE_KEY=KEY,
        TICKETS_STRIPE_API_BASE=stripe.api_base,
    )
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"}
    ended = subprocess.run(
        [sys.executable, "-m", "ticket_service", "audit"],
        cwd=ROOT,
        env={**os.environ, **paths, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "         0 tickets\n" in ended.stdout
    assert "         0 payments at the provider\n" in ended.stdout
    assert f"all {len(CHECKS) + len(reconciliation.CHECKS)} checks hold" in ended.stdout
