"""Erasures of users and addresses: no column names the person, and everything else works as before."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.databases import columns_with, connected, execute, read_value
from tests.environment.messages import struct
from tests.environment.refusals import refusal
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.selling.rows import row
from tests.selling.shop import Shop, money, new_id
from tests.selling.shop import event as draft
from ticket_service.app import App
from ticket_service.commands import erase as command
from ticket_service.domain.erasures import STEPS, SubjectKind
from ticket_service.store import erasing
from ticket_service.store.tables import (
    contacts,
    deliveries,
    idempotency_keys,
    notifications,
    outbox,
    purchases,
    reissues,
    tickets,
)
from ticket_service.use_cases import erasures as use_case
from ticketing.tickets.v1 import (
    change_pb2,
    change_service_pb2,
    erasure_service_pb2,
    event_pb2,
    event_service_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.erasure_service_pb2_grpc import ErasureServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.usefixtures("adds_up")

VERA = "vera-4711"
MAIL = "Vera.Erased@example.com"
SEAT = "aisle seat of V. E."
WHY = "broken leg of V. E."
BY_VERA, BY_BOB = ("user", VERA), ("user", "bob")
# The sessions that wait for the row of an event.
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM events%'"
COMPLETE = erasure_service_pb2.ERASURE_STATUS_COMPLETE
ERASING_SCANS = erasure_service_pb2.ERASURE_STATUS_ERASING_SCANS


class Customers:
    """The callers of a service that erases."""

    def __init__(self, shop: Shop, channel: grpc.aio.Channel) -> None:
        self.shop = shop
        self.erasures = ErasureServiceStub(channel)
        self.tickets = TicketServiceStub(channel)
        self.changes = ChangeServiceStub(channel)

    async def erase(self, by: tuple[str, str] = Shop.BACKEND, **subject: str) -> erasure_service_pb2.Erasure:
        request = erasure_service_pb2.EraseRequest(**subject)
        return (await self.erasures.Erase(request, metadata=self.shop.metadata(by))).erasure

    async def transfer(self, ticket: Any, user_id: str, by: tuple[str, str], email: str = "") -> None:
        request = ticket_service_pb2.TransferTicketRequest(
            ticket_id=ticket.ticket_id, user_id=user_id, request_id=new_id(), email=email
        )
        await self.tickets.TransferTicket(request, metadata=self.shop.metadata(by))

    async def cancel(self, ticket: Any, by: tuple[str, str], reason: str = "") -> None:
        request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id, reason=reason)
        await self.tickets.CancelTicket(request, metadata=self.shop.metadata(by))


@pytest.fixture
async def customers(
    make_settings: Any, tickets_url: URL, clock: Any, scans: Any, issuer: Any
) -> AsyncIterator[Customers]:
    """Run a service whose scan service is a stand-in."""
    settings = make_settings(TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}", TICKETS_SWEEP_SECONDS="1")
    async with (
        running(App(settings, tickets_url, clock)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Customers(Shop(channel, issuer, clock()), channel)


async def on_sale(shop: Shop, **fields: Any) -> event_pb2.Event:
    policy = event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)])
    return await shop.on_sale(**{"ticket_price": money(2_500), "refund_policy": policy, **fields})


async def bought(shop: Shop, event: event_pb2.Event, by: tuple[str, str], email: str = "", **more: Any) -> Any:
    held = await shop.buy(event.event_id, by, email=email, **more)
    return await shop.report_payment(held, f"pay-{new_id()}")


async def leave_traces(customers: Customers) -> list[purchase_pb2.Purchase]:
    """Leave personal data of one user in every table that may contain some; return the user's purchases."""
    shop = customers.shop
    event = await on_sale(shop)
    seat = struct(seat=SEAT)
    first = await bought(shop, event, BY_VERA, MAIL, metadata=seat, quantity=3)
    await customers.transfer(first.tickets[0], "bob", BY_VERA, "bob@example.com")
    await customers.cancel(first.tickets[1], BY_VERA, WHY)
    of_bob = await bought(shop, event, BY_BOB, "bob@example.com", quantity=2)
    await customers.transfer(of_bob.tickets[0], VERA, BY_BOB, MAIL)
    await customers.transfer(of_bob.tickets[1], VERA, BY_BOB, MAIL)
    await customers.transfer(of_bob.tickets[1], "carol", BY_VERA, "carol@example.com")
    held = await shop.buy(event.event_id, BY_VERA, email=MAIL, metadata=seat)
    request = purchase_service_pb2.CorrectEmailRequest(
        request_id=new_id(), purchase_id=first.purchase_id, email=MAIL.lower()
    )
    await shop.purchases.CorrectEmail(request, metadata=shop.metadata(BY_VERA))
    return [first, held]


async def test_an_erased_user_is_in_no_column(customers, tickets_url, database):
    await leave_traces(customers)
    assert {"purchases.user_id", "reissues.caller", "changes.caller", "outbox.data"} <= columns_with(tickets_url, VERA)
    erasure = await customers.erase(user_id=VERA)
    assert erasure.status == COMPLETE
    assert columns_with(tickets_url, VERA, MAIL, SEAT, WHY) == set()
    assert (erasure.purchases, erasure.contacts > 0, erasure.notifications > 0) == (2, True, True)
    # Two tickets that the user bought and kept, and one received.
    assert erasure.tickets == 3
    again = await customers.erase(user_id=VERA)
    assert (again.status, again.purchases, again.tickets, again.notifications) == (COMPLETE, 0, 0, 0)
    # The data of others stays.
    assert {"contacts.email", "reissues.email"} <= columns_with(tickets_url, "bob@example.com")
    assert "tickets.user_id" in columns_with(tickets_url, "carol")


async def test_the_audit_trail_names_the_erasure_and_not_the_person(customers):
    await leave_traces(customers)
    erasure = await customers.erase(user_id=VERA)
    request = change_service_pb2.ListChangesRequest(page_size=100)
    listed = await customers.changes.ListChanges(request, metadata=customers.shop.metadata(Shop.BACKEND))
    [record] = [one for one in listed.changes if one.kind == change_pb2.CHANGE_KIND_ERASURE_REQUESTED]
    assert (record.caller, dict(record.details)) == ("shop", {"erasure_id": erasure.erasure_id, "subject": "USER"})
    kinds = {one.kind for one in listed.changes if not one.caller}
    assert change_pb2.CHANGE_KIND_TRANSFER_REQUESTED in kinds


async def test_notifications_in_the_queues_lose_the_person(customers, tickets_url, database):
    await leave_traces(customers)
    execute(
        tickets_url,
        "INSERT INTO deliveries (event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data,"
        " create_time, receiver, stream, due_time, attempts, dead_time, failure) SELECT event_id, position,"
        " notification_id, kind, purchase_id, ticket_id, user_id, data, create_time, 'hook', event_id, NULL, 1,"
        " create_time, '503' FROM outbox",
    )
    execute(
        tickets_url,
        "INSERT INTO notifications (event_id, position, notification_id, kind, purchase_id, ticket_id, user_id, data,"
        " create_time, receivers, receivers_by_purchase) SELECT event_id, position, notification_id, kind, purchase_id,"
        " ticket_id, user_id, data, create_time, '{hook}', '{}' FROM outbox",
    )
    before = await database.run(lambda c: c.execute(sa.select(sa.func.count()).select_from(deliveries)).scalar_one())
    await customers.erase(user_id=VERA)
    for table in (outbox, deliveries, notifications):
        rows = await database.run(lambda c, t=table: c.execute(sa.select(t)).all())
        assert len(rows) == before
        assert VERA not in str(rows)
        assert "bob" in {one.user_id for one in rows}


async def test_the_books_and_the_refund_under_way_stay(customers, tickets_url, clock):
    shop = customers.shop
    event = await on_sale(shop)
    purchase = await bought(shop, event, BY_VERA, MAIL, quantity=2)
    await customers.cancel(purchase.tickets[0], BY_VERA, WHY)
    before = read_value(tickets_url, "SELECT json_agg(ledger ORDER BY entry_id)::text FROM ledger")
    await customers.erase(user_id=VERA)
    assert read_value(tickets_url, "SELECT json_agg(ledger ORDER BY entry_id)::text FROM ledger") == before
    listed = ticket_service_pb2.ListCancellationsRequest(event_id=event.event_id)
    [owed] = (await customers.tickets.ListCancellations(listed, metadata=shop.metadata(Shop.OLGA))).cancellations
    assert owed.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING
    confirm = ticket_service_pb2.ConfirmRefundRequest(cancellation_id=owed.cancellation_id, refund_id="re-1")
    await customers.tickets.ConfirmRefund(confirm, metadata=shop.metadata(Shop.BACKEND))
    [made] = (await customers.tickets.ListCancellations(listed, metadata=shop.metadata(Shop.OLGA))).cancellations
    assert (made.status, made.refund_id) == (ticket_pb2.CANCELLATION_STATUS_DONE, "re-1")
    request = ticket_service_pb2.ListTicketsRequest(event_id=event.event_id)
    sold = (await customers.tickets.ListTickets(request, metadata=shop.metadata(Shop.OLGA))).tickets
    assert [one.user_id for one in sold] == ["", ""]


async def test_the_erased_user_reaches_nothing_by_the_old_token(customers):
    shop = customers.shop
    first, _ = await leave_traces(customers)
    await customers.erase(user_id=VERA)
    mine = await shop.purchases.ListPurchases(
        purchase_service_pb2.ListPurchasesRequest(), metadata=shop.metadata(BY_VERA)
    )
    tickets_of = await customers.tickets.ListTickets(
        ticket_service_pb2.ListTicketsRequest(), metadata=shop.metadata(BY_VERA)
    )
    assert (len(mine.purchases), len(tickets_of.tickets)) == (0, 0)
    assert (await refusal(shop.read(first, BY_VERA))).reason == "PURCHASE_NOT_FOUND"


async def test_a_repeated_request_of_an_erased_caller_buys_nothing(customers, database):
    shop = customers.shop
    event = await on_sale(shop, max_participants=10)
    request_id, of_reissue = new_id(), new_id()
    creation = event_service_pb2.CreateEventRequest(request_id=new_id(), event=draft(shop.now))
    by_vera = shop.metadata(("organizer", VERA))
    await shop.events.CreateEvent(creation, metadata=by_vera)
    held = await shop.buy(event.event_id, BY_VERA, request_id=request_id)
    purchase = await shop.report_payment(held, "pay-1")
    reissue = ticket_service_pb2.ReissueTicketRequest(ticket_id=purchase.tickets[0].ticket_id, request_id=of_reissue)
    await customers.tickets.ReissueTicket(reissue, metadata=shop.metadata(BY_VERA))
    await customers.erase(user_id=VERA)
    again = await refusal(shop.buy(event.event_id, BY_VERA, request_id=request_id))
    assert again.reason == "REQUEST_ID_REUSED"
    reissued = customers.tickets.ReissueTicket(reissue, metadata=shop.metadata(BY_VERA))
    assert (await refusal(reissued)).reason == "REQUEST_ID_REUSED"
    assert (await refusal(shop.events.CreateEvent(creation, metadata=by_vera))).reason == "REQUEST_ID_REUSED"
    assert await shop.left(event) == 9
    # The key has no digest of the request either, which contained the user.
    keys = await database.run(lambda c: c.execute(sa.select(idempotency_keys).filter_by(caller="")).all())
    assert {bytes(one.fingerprint) for one in keys} == {b""}


async def test_a_repeated_request_of_a_shop_returns_the_erased_purchase(customers):
    shop = customers.shop
    event = await on_sale(shop)
    order = {"request_id": new_id(), "user_id": VERA, "external_payment_id": "pay-1", "expected_total": money(2_500)}
    first = await shop.buy(event.event_id, Shop.BACKEND, **order)
    await customers.erase(user_id=VERA)
    again = await shop.buy(event.event_id, Shop.BACKEND, **order)
    assert (again.purchase_id, again.user_id) == (first.purchase_id, "")


async def test_erased_customers_are_not_one_customer(customers, database):
    shop = customers.shop
    event = await on_sale(shop, max_tickets_per_customer=2, max_participants=10)
    held = [await shop.buy(event.event_id, ("user", name), quantity=2) for name in (VERA, "walter", "xenia")]
    for name in (VERA, "walter", "xenia"):
        await customers.erase(user_id=name)
    for one in held[:2]:
        paid = await shop.report_payment(one, f"pay-{one.purchase_id}")
        assert paid.status == purchase_pb2.PURCHASE_STATUS_COMPLETED
    # A late payment checks the bound again; a new customer and a returned one begin at zero.
    await shop.release(held[2], Shop.BACKEND)
    late = await shop.report_payment(held[2], "pay-late")
    assert late.status == purchase_pb2.PURCHASE_STATUS_COMPLETED
    assert (await shop.buy(event.event_id, BY_VERA, quantity=2)).status == purchase_pb2.PURCHASE_STATUS_HELD


async def test_an_erased_hold_is_completed_without_the_person(customers, tickets_url):
    shop = customers.shop
    event = await on_sale(shop)
    held = await shop.buy(event.event_id, BY_VERA, email=MAIL, metadata=struct(seat=SEAT))
    await customers.erase(user_id=VERA)
    paid = await shop.report_payment(held, "pay-1")
    assert (paid.user_id, [one.user_id for one in paid.tickets]) == ("", [""])
    assert columns_with(tickets_url, VERA, MAIL, SEAT) == set()


async def test_an_erased_address_is_in_no_column(customers, tickets_url):
    shop = customers.shop
    event = await on_sale(shop)
    guest = {"email": MAIL, "metadata": struct(seat=SEAT), "expected_total": money(2_500)}
    await shop.buy(event.event_id, Shop.BACKEND, external_payment_id="pay-1", **guest)
    by_bob = await bought(shop, event, BY_BOB, "bob@example.com")
    await customers.transfer(by_bob.tickets[0], VERA, BY_BOB, MAIL.upper())
    erasure = await customers.erase(email=MAIL.lower())
    assert (erasure.status, erasure.purchases, erasure.contacts) == (COMPLETE, 1, 2)
    assert columns_with(tickets_url, MAIL, SEAT) == set()
    assert "contacts.email" in columns_with(tickets_url, "bob@example.com")
    # The person is not erased as a user.
    assert "tickets.user_id" in columns_with(tickets_url, VERA)


async def test_erasing_a_seller_keeps_the_data_of_guests(customers, tickets_url, database):
    shop = customers.shop
    event = await on_sale(shop)
    sale = {"external_payment_id": "pay-1", "expected_total": money(2_500), "metadata": struct(seat=SEAT)}
    await shop.buy(event.event_id, Shop.OLGA, email="guest@example.com", **sale)
    erasure = await customers.erase(user_id="olga")
    assert (erasure.purchases, erasure.kept_events) == (1, 1)
    assert columns_with(tickets_url, "guest@example.com", SEAT) == {"contacts.email", "purchases.metadata"}
    assert columns_with(tickets_url, "olga") == {"events.organizer_id"}
    # The organizer may still work with the event.
    assert (await shop.get(event.event_id, Shop.OLGA)).organizer_id == "olga"


async def test_an_outage_of_the_scan_service_leaves_the_rest_to_the_sweeper(customers, scans, tickets_url, clock):
    await customers.shop.buy((await on_sale(customers.shop)).event_id, BY_VERA)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    erasure = await customers.erase(user_id=VERA)
    assert (erasure.status, erasure.purchases) == (ERASING_SCANS, 1)
    assert columns_with(tickets_url, VERA) == {"erasures.subject"}
    scans.fails_with = None
    clock.advance(timedelta(minutes=5))
    await until(lambda: columns_with(tickets_url, VERA) == set())
    assert scans.erased == [VERA]
    assert read_value(tickets_url, "SELECT count(*) FROM erasures WHERE complete_time IS NULL") == 0


async def test_a_large_erasure_advances_in_bounded_batches(customers, database, tickets_url, monkeypatch):
    monkeypatch.setattr(erasing, "MAX_PURCHASES", 1)
    monkeypatch.setattr(erasing, "MAX_ROWS", 2)
    monkeypatch.setattr(use_case, "MAX_BATCHES", 3)
    await leave_traces(customers)
    states = list[erasure_service_pb2.Erasure]()
    while not states or states[-1].status != COMPLETE:
        states.append(await customers.erase(user_id=VERA))
        assert len(states) < 50
    assert len({one.erasure_id for one in states}) == 1
    assert len(states) > 2
    assert columns_with(tickets_url, VERA, MAIL, SEAT, WHY) == set()


async def test_erase_beside_sales_of_the_same_user_leaves_whole_purchases(customers, database, tickets_url):
    shop = customers.shop
    event = await on_sale(shop, ticket_price=money(0), max_participants=500)

    async def sell() -> None:
        for _ in range(8):
            try:
                await shop.buy(event.event_id, BY_VERA, email=MAIL, metadata=struct(seat=SEAT), quantity=2)
            except grpc.aio.AioRpcError as error:
                # The purchase was erased between its commit and its answer.
                assert error.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017 - a race that either side may win

    async def erase() -> None:
        for _ in range(8):
            await customers.erase(user_id=VERA)

    await asyncio.gather(*(sell() for _ in range(8)), erase())
    bought_by = sa.select(purchases.c.user_id, tickets.c.user_id).join_from(
        purchases, tickets, sa.and_(purchases.c.purchase_id == tickets.c.purchase_id)
    )
    pairs = set(map(tuple, await database.run(lambda c: c.execute(bought_by).all())))
    assert pairs <= {("", ""), (VERA, VERA)}
    erased = sa.select(contacts.c.email).join(purchases, purchases.c.purchase_id == contacts.c.purchase_id)
    assert await database.run(lambda c: c.execute(erased.where(purchases.c.user_id == "")).all()) == []
    await customers.erase(user_id=VERA)
    assert columns_with(tickets_url, VERA, MAIL, SEAT) == set()
    assert await shop.left(event) == 500 - 8 * 8 * 2


async def test_a_transfer_to_an_erased_user_has_no_holder_afterwards(customers, scans, database, tickets_url, clock):
    shop = customers.shop
    purchase = await bought(shop, await on_sale(shop), BY_BOB)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError):
        await customers.transfer(purchase.tickets[0], VERA, BY_BOB, MAIL)
    assert (await row(database, reissues)).status == "PENDING"
    await customers.erase(user_id=VERA)
    scans.fails_with = None
    clock.advance(timedelta(minutes=5))
    await until(lambda: read_value(tickets_url, "SELECT status FROM reissues") == "DONE")
    assert (await row(database, tickets)).user_id == ""
    await until(lambda: columns_with(tickets_url, VERA, MAIL) == set())


async def test_an_erasure_finds_what_a_change_under_way_writes(customers, tickets_url):
    event = await on_sale(customers.shop, ticket_price=money(0))
    for by in (BY_VERA, BY_BOB):
        await customers.shop.buy(event.event_id, by)
    with connected(tickets_url) as cursor:
        cursor.execute("SELECT FROM events FOR NO KEY UPDATE")
        erasure = asyncio.ensure_future(customers.erase(user_id=VERA))
        await until(lambda: read_value(tickets_url, BLOCKED) == 1)
        cursor.execute("UPDATE tickets SET user_id = %s", [VERA])
    assert (await erasure).tickets == 2
    assert columns_with(tickets_url, VERA) == set()


async def test_a_correction_that_waits_for_an_erasure_stores_no_address(customers, tickets_url):
    shop = customers.shop
    purchase = await bought(shop, await on_sale(shop), BY_VERA, MAIL)
    request = purchase_service_pb2.CorrectEmailRequest(
        request_id=new_id(), purchase_id=purchase.purchase_id, email=f"new.{MAIL}"
    )
    with connected(tickets_url) as cursor:
        cursor.execute("SELECT FROM events FOR NO KEY UPDATE")
        correction = asyncio.ensure_future(shop.purchases.CorrectEmail(request, metadata=shop.metadata(BY_VERA)))
        await until(lambda: read_value(tickets_url, BLOCKED) == 1)
        cursor.execute("UPDATE purchases SET user_id = ''; UPDATE tickets SET user_id = ''; DELETE FROM contacts")
    assert (await refusal(correction)).reason == "PURCHASE_NOT_FOUND"
    assert columns_with(tickets_url, MAIL) == set()


@pytest.mark.parametrize("by", [BY_VERA, Shop.OLGA, ("scanner", "sam")])
async def test_other_roles_may_not_erase(customers, by):
    assert (await refusal(customers.erase(by, user_id=VERA))).reason == "FORBIDDEN"


@pytest.mark.parametrize("subject", [{}, {"user_id": ""}, {"email": ""}, {"user_id": "v" * 256}])
async def test_a_request_without_a_subject_is_refused(customers, subject):
    assert (await refusal(customers.erase(**subject))).reason == "INVALID_ARGUMENT"


async def test_a_command_leaves_the_scans_to_the_service(shop, tickets_url, database):
    event = await on_sale(shop)
    await bought(shop, event, BY_VERA, MAIL, metadata=struct(seat=SEAT))
    lines: list[str] = []
    assert await asyncio.to_thread(command.erase_named, tickets_url, SubjectKind.USER, [VERA], lines.append) == 0
    assert "1 purchases, 1 tickets, 1 addresses" in lines[0]
    assert lines[0].endswith("the running service asks the scan service")
    assert VERA not in lines[0]
    assert columns_with(tickets_url, VERA, MAIL, SEAT) == {"erasures.subject"}


async def test_an_interrupted_command_is_continued(shop, tickets_url, database, monkeypatch):
    monkeypatch.setattr(erasing, "MAX_PURCHASES", 1)
    event = await on_sale(shop, ticket_price=money(0))
    for _ in range(3):
        await shop.buy(event.event_id, BY_VERA, email=MAIL)
    erase_batch, batches = erasing.erase_user, list[Any]()

    def interrupted(connection: Any, *arguments: Any) -> Any:
        if len(batches) == 3:
            raise KeyboardInterrupt
        batches.append(arguments)
        return erase_batch(connection, *arguments)

    monkeypatch.setattr(erasing, "erase_user", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(command.erase_named, tickets_url, SubjectKind.USER, [VERA], print)
    assert read_value(tickets_url, "SELECT count(*) FROM purchases WHERE user_id <> ''") == 1
    monkeypatch.setattr(erasing, "erase_user", erase_batch)
    lines: list[str] = []
    await asyncio.to_thread(command.erase_named, tickets_url, SubjectKind.USER, [VERA], lines.append)
    assert "3 purchases" in lines[0]
    assert columns_with(tickets_url, VERA, MAIL) == {"erasures.subject"}


def test_every_step_of_a_user_has_a_statement():
    assert set(STEPS[SubjectKind.USER]) == set(erasing._USER_STEPS)  # noqa: SLF001 - the mapping is the statement
