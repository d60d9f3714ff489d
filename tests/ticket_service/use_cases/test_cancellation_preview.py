"""The preview of an event cancellation shows what the cancellation then does, and changes nothing."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.selling.callers import ALICE, OLGA, OSCAR
from tests.selling.rows import CHANGE_RULES, change, sell, sold, store_event
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.cancellation_preview import PreviewLine, TicketOutcome
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.store.cancellation_preview import begin_read_only
from ticket_service.store.tables import cancellations, events, purchases
from ticket_service.use_cases.cancellation_preview import CancellationPreviews
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

OFFERS = (Offer(TicketType.STANDARD, 2_500), Offer(TicketType.VIP, 0))


@pytest.fixture
def previews(database: Database, clock: Clock) -> CancellationPreviews:
    return CancellationPreviews(database, {"stripe"}, CHANGE_RULES, clock)


@pytest.fixture
def canceller(database: Database, remote: ScanServiceClient, clock: Clock) -> Cancellations:
    return Cancellations(database, remote, clock, lambda: None)


@pytest.fixture
def event_canceller(
    database: Database, remote: ScanServiceClient, canceller: Cancellations, clock: Clock
) -> EventCancellations:
    return EventCancellations(database, remote, canceller, CHANGE_RULES, clock)


@pytest.fixture
async def event(database: Database, clock: Clock, canceller: Cancellations) -> Event:
    """Sell tickets of every outcome; alice has cancelled one of hers, and another one is checked in."""

    def work(connection: Connection) -> tuple[Event, list[Any]]:
        event = store_event(connection, now=clock(), offers=OFFERS, starts_in=timedelta(days=5))
        for user_id, provider, count in (("stripe", "stripe", 2), ("old", "paypal", 3), ("own", "external", 4)):
            sell(connection, event, count, user_id=user_id)
            its = purchases.c.user_id == user_id
            connection.execute(sa.update(purchases).where(its).values(provider=provider))
        sell(connection, event, 5, user_id="guest", ticket_type=TicketType.VIP)
        return event, sell(connection, event, 3)

    event, [cancelled, inside, _] = await database.run(work)
    await canceller.cancel(ALICE, cancelled, "ill")
    await change(database, inside, check_in_time=clock())
    return event


def line(outcome: TicketOutcome, provider: str, tickets: int, price: int = 2_500) -> PreviewLine:
    return PreviewLine(outcome, provider, "EUR", tickets, tickets * price, tickets * price)


async def test_each_ticket_is_counted_under_its_outcome(previews, event):
    preview = await previews.preview(OLGA, event.event_id)
    assert preview.lines == [
        line(TicketOutcome.REFUNDED, "stripe", 2),
        line(TicketOutcome.REFUND_REQUESTED, "external", 5),
        line(TicketOutcome.PROVIDER_NOT_CONFIGURED, "paypal", 3),
        line(TicketOutcome.FREE, "free", 5, price=0),
        line(TicketOutcome.CHECKED_IN, "external", 1),
        line(TicketOutcome.ALREADY_CANCELLED, "external", 1),
    ]
    assert [one.refund for one in preview.lines] == [5_000, 12_500, 7_500, 0, 0, 0]


async def test_the_cancellation_does_what_the_preview_says(previews, event_canceller, event, database):
    preview = await previews.preview(OLGA, event.event_id)
    await event_canceller.cancel(OLGA, event.event_id, "storm")
    while await event_canceller.sweep():
        pass
    query = sa.select(sa.func.count(), sa.func.sum(cancellations.c.refund_amount)).where(
        cancellations.c.event_id == event.event_id, cancellations.c.reason == "storm"
    )
    count, refunds = (await database.run(lambda c: c.execute(query).all()))[0]
    stays = {TicketOutcome.CHECKED_IN, TicketOutcome.ALREADY_CANCELLED}
    assert count == sum(one.tickets for one in preview.lines if one.outcome not in stays)
    assert refunds == sum(one.refund for one in preview.lines)
    after = await previews.preview(OLGA, event.event_id)
    assert {one.outcome for one in after.lines} == stays


async def test_a_preview_changes_nothing(previews, event, database):
    def state(connection: Connection) -> list[Any]:
        return [connection.execute(sa.select(table)).all() for table in (events, purchases, cancellations)]

    before = await database.run(state)
    await previews.preview(OLGA, event.event_id)
    assert await database.run(state) == before

    def write(connection: Connection) -> None:
        begin_read_only(connection)
        connection.execute(sa.update(events).values(reserved=0))

    with pytest.raises(Failure) as refused:
        await database.run(write)
    assert "read-only" in str(refused.value.__cause__)


async def test_a_pending_cancellation_counts_with_its_full_refund(previews, canceller, database, clock, scans):
    event, [ticket_id] = await sold(database, clock, starts_in=timedelta(days=5))
    await scans.stop()
    await canceller.cancel(ALICE, ticket_id, "ill")
    preview = await previews.preview(OLGA, event.event_id)
    assert preview.lines == [line(TicketOutcome.REFUND_REQUESTED, "external", 1)]


async def test_the_places_of_holds_are_counted(previews, database, clock):
    event, _ = await sold(database, clock)
    held = {
        "status": "HELD",
        "complete_time": None,
        "due_time": clock(),
        "hold_expire_time": clock(),
        "items": [["STANDARD", 3, 2_500], ["VIP", 2, 0]],
    }
    await database.run(lambda c: c.execute(sa.update(purchases).values(held)))
    assert (await previews.preview(OLGA, event.event_id)).held_places == 5


async def test_a_preview_fails_as_the_cancellation_would(previews, database, clock):
    event, _ = await sold(database, clock)
    with pytest.raises(Failure) as caught:
        await previews.preview(OSCAR, event.event_id)
    assert caught.value.reason == "EVENT_NOT_FOUND"
    clock.now = event.end_time + timedelta(days=30)
    with pytest.raises(Failure) as caught:
        await previews.preview(OLGA, event.event_id)
    assert caught.value.metadata == {"from": EventStatus.COMPLETED, "to": EventStatus.CANCELLED}
