"""Payments that are reported at once share a transaction, and each has the effect that it has alone."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL

from tests.environment.clock import SettableClock
from tests.environment.databases import connected
from tests.environment.waiting import until
from tests.selling.rows import hold, store_event
from ticket_service.domain.codes import Codes
from ticket_service.domain.events import Event
from ticket_service.domain.holds import Payment
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.sales import SaleContext
from ticket_service.store.purchases import find_purchase
from ticket_service.store.tables import changes, events, ledger, outbox, payments, tickets
from ticket_service.use_cases.confirmations import MAX_BATCH, Confirmations
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.payment_records import PaymentRecords
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.logs import REQUEST_ID

SHOP = Caller("shop", frozenset({Role.SERVICE}))
OLGA = Caller("olga", frozenset({Role.ORGANIZER}))
OSCAR = Caller("oscar", frozenset({Role.ORGANIZER}))
PRICE = 2_500
COMPLETED, EXPIRED, REFUNDING = PurchaseStatus.COMPLETED, PurchaseStatus.EXPIRED, PurchaseStatus.REFUNDING


class Till:
    """The use case with events and held purchases."""

    def __init__(self, database: Database, confirmations: Confirmations, clock: SettableClock) -> None:
        self.database = database
        self.confirmations = confirmations
        self.clock = clock

    async def event(self, **fields: Any) -> Event:
        return await self.database.run(lambda connection: store_event(connection, now=self.clock(), **fields))

    async def hold(self, event: Event, count: int = 1, **columns: Any) -> list[UUID]:
        its = {"provider": "external", "hold_expire_time": self.clock() + timedelta(minutes=10), **columns}
        return await self.database.run(lambda c: [hold(c, event, **its) for _ in range(count)])

    async def confirm(self, purchase_id: UUID, payment_id: str, paid: int = PRICE, caller: Caller = SHOP) -> None:
        purchase = await self.confirmations.find(caller, purchase_id)
        assert await self.confirmations.confirm(caller, purchase, Payment(payment_id, ("EUR", paid))) is None

    async def confirm_all(self, *reports: tuple[UUID, str], **wanted: Any) -> list[str]:
        """Report payments at once; return "" or the reason of the refusal of each."""
        found = [await self.confirmations.find(SHOP, purchase_id) for purchase_id, _ in reports]
        before = batches()
        answers = await asyncio.gather(
            *(
                self.confirmations.confirm(SHOP, purchase, Payment(payment_id, ("EUR", wanted.get("paid", PRICE))))
                for purchase, (_, payment_id) in zip(found, reports, strict=True)
            ),
            return_exceptions=True,
        )
        assert batches() == before + 1
        return [answer.reason if isinstance(answer, Failure) else "" for answer in answers]

    async def purchase(self, purchase_id: UUID) -> Purchase:
        found = await self.database.run(lambda connection: find_purchase(connection, purchase_id))
        assert found is not None
        return found

    async def count(self, table: sa.Table, **key: Any) -> int:
        query = sa.select(sa.func.count()).select_from(table).filter_by(**key)
        return await self.database.run(lambda connection: connection.execute(query).scalar_one())


def batches() -> float:
    return REGISTRY.get_sample_value("batch_size_count", {"batcher": "confirmations"}) or 0.0


@pytest.fixture
async def till(database: Database, clock: SettableClock, tmp_path: Path) -> Till:
    keys = await SigningKeys.open(database, tmp_path / "key", clock)
    records = PaymentRecords(
        Issuing(Codes("s" * 32), keys), lambda: SaleContext(20, new_id, clock(), timedelta(minutes=10))
    )
    return Till(database, Confirmations(database, records, clock, lambda: None), clock)


async def test_payments_that_are_reported_at_once_complete_their_purchases(till):
    event = await till.event()
    held = await till.hold(event, MAX_BATCH)
    assert await till.confirm_all(*((purchase_id, f"pay-{purchase_id}") for purchase_id in held)) == [""] * MAX_BATCH
    for purchase_id in held:
        its = {"event_id": event.event_id, "purchase_id": purchase_id}
        purchase = await till.purchase(purchase_id)
        assert (purchase.status, purchase.payment_id) == (COMPLETED, f"pay-{purchase_id}")
        assert [await till.count(table, **its) for table in (tickets, payments, ledger, outbox, changes)] == [1] * 5
    [row] = await till.database.run(lambda c: c.execute(sa.select(events)).all())
    assert (row.reserved, row.revision) == (MAX_BATCH, 1 + MAX_BATCH)
    revisions = await till.database.run(lambda c: c.execute(sa.select(tickets.c.revision)).scalars().all())
    assert sorted(revisions) == list(range(2, 2 + MAX_BATCH))


async def test_a_refused_payment_leaves_the_others(till):
    event = await till.event()
    dear = await till.hold(event, total=PRICE + 1)
    held = await till.hold(event, 3)
    await till.confirm(held[0], "pay-0")
    reports = [(held[1], "pay-1"), (dear[0], "pay-2"), (held[2], "pay-0"), (held[2], "pay-3")]
    assert await till.confirm_all(*reports) == ["", "PRICE_CHANGED", "PAYMENT_ALREADY_USED", ""]
    assert [(await till.purchase(one)).status for one in held] == [COMPLETED] * 3
    assert (await till.purchase(dear[0])).status is PurchaseStatus.HELD
    assert await till.count(payments) == 3


async def test_one_payment_of_two_purchases_pays_the_first(till):
    held = await till.hold(await till.event(), 2)
    assert await till.confirm_all((held[0], "pay-1"), (held[1], "pay-1")) == ["", "PAYMENT_ALREADY_USED"]
    assert await till.count(tickets) == 1


async def test_a_repeated_payment_counts_once_and_a_second_one_is_refunded(till):
    event = await till.event()
    [held] = await till.hold(event)
    assert await till.confirm_all((held, "pay-1"), (held, "pay-1"), (held, "pay-2")) == ["", "", ""]
    assert (await till.purchase(held)).payment_id == "pay-1"
    assert [await till.count(table) for table in (tickets, payments, changes)] == [1, 2, 2]
    assert await till.count(payments, payment_id="pay-2", refund_due=True) == 1


async def test_late_payments_at_once_keep_the_bound_of_their_customer(till):
    event = await till.event(max_tickets_per_customer=1)
    now = till.clock()
    ended = await till.hold(event, 2, status="EXPIRED", hold_expire_time=now, complete_time=now, due_time=None)
    held = await till.hold(event, user_id="bob")
    reports = [(ended[0], "pay-1"), (held[0], "pay-2"), (ended[1], "pay-3")]
    assert await till.confirm_all(*reports) == ["", "", ""]
    states = [(await till.purchase(one)).status for one in (*ended, *held)]
    assert states == [COMPLETED, REFUNDING, COMPLETED]


async def test_a_payment_that_another_event_takes_meanwhile_leaves_the_others(till, tickets_url: URL):
    event, other = await till.event(), await till.event()
    held, [foreign] = await till.hold(event, 3), await till.hold(other)
    with connected(tickets_url) as process:
        # Another process has inserted the payment and not committed yet.
        process.execute(
            "INSERT INTO payments (provider, payment_id, event_id, purchase_id, currency, amount, create_time)"
            " VALUES ('external', 'pay-1', %s, %s, 'EUR', %s, now())",
            [str(other.event_id), str(foreign), PRICE],
        )
        reports = [(purchase_id, f"pay-{place}") for place, purchase_id in enumerate(held)]
        waiting = asyncio.create_task(till.confirm_all(*reports))
        await until(lambda: is_waiting(tickets_url))
    assert await waiting == ["", "PAYMENT_ALREADY_USED", ""]
    assert await till.count(tickets) == 2


async def test_a_locked_event_delays_no_other_event(till, tickets_url: URL):
    event, locked = await till.event(), await till.event()
    [held], [waits] = await till.hold(event), await till.hold(locked)
    with connected(tickets_url) as process:
        process.execute("SELECT FROM events WHERE event_id = %s FOR UPDATE", [str(locked.event_id)])
        waiting = asyncio.create_task(till.confirm(waits, "pay-1"))
        await until(lambda: is_waiting(tickets_url))
        await till.confirm(held, "pay-2")
        assert not waiting.done()
    await waiting
    assert (await till.purchase(waits)).status is COMPLETED


async def test_each_change_has_the_call_that_reported_it(till):
    event = await till.event()
    held = await till.hold(event, 2)
    purchases = [await till.confirmations.find(OLGA, purchase_id) for purchase_id in held]

    async def report(caller: Caller, purchase: Purchase) -> None:
        REQUEST_ID.set(f"call-of-{caller.subject}")
        await till.confirmations.confirm(caller, purchase, Payment(caller.subject, ("EUR", PRICE)))

    await asyncio.gather(*(report(*one) for one in zip((SHOP, OLGA), purchases, strict=True)))
    query = sa.select(changes.c.caller, changes.c.request_id, changes.c.purchase_id)
    rows = await till.database.run(lambda connection: connection.execute(query).all())
    assert sorted(tuple(row) for row in rows) == [("olga", "call-of-olga", held[1]), ("shop", "call-of-shop", held[0])]


async def test_only_the_organizer_and_services_find_a_purchase(till):
    [held] = await till.hold(await till.event())
    with pytest.raises(Failure, match="purchase") as refused:
        await till.confirmations.find(OSCAR, held)
    assert refused.value.reason == "PURCHASE_NOT_FOUND"
    assert (await till.confirmations.find(OLGA, held)).purchase_id == held


def is_waiting(url: URL) -> bool:
    with connected(url) as reader:
        reader.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        [row] = reader.fetchall()
    return bool(row[0])
