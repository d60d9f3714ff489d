"""The terms of a purchase hold, whatever the organizer changes later."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.environment.messages import at
from tests.environment.waiting import until
from tests.selling.rows import sold
from tests.selling.shop import Shop, money, new_id
from ticket_service.domain.events import RefundTier
from ticket_service.domain.refund_policy import refund
from ticket_service.store.tables import outbox, past_terms, purchases
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb

NOTHING = event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=0)])
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def event(shop) -> event_pb2.Event:
    return await shop.on_sale(ticket_price=money(2_500))


async def buy(shop: Shop, event: event_pb2.Event) -> str:
    bought = await shop.buy(
        event.event_id, Shop.BACKEND, user_id="alice", external_payment_id=new_id(), expected_total=money(2_500)
    )
    return bought.tickets[0].ticket_id


async def change(shop: Shop, event_id: str, **fields: Any) -> event_service_pb2.UpdateEventResponse:
    request = event_service_pb2.UpdateEventRequest(event=event_pb2.Event(event_id=event_id, **fields))
    request.update_mask.paths.extend(fields)
    return await shop.events.UpdateEvent(request, metadata=shop.metadata(Shop.OLGA))


async def move(shop: Shop, event: event_pb2.Event, to: datetime) -> event_service_pb2.UpdateEventResponse:
    return await change(shop, event.event_id, start_time=at(to), end_time=at(to + 4 * HOUR))


async def read(stub, shop, ticket_id: str) -> ticket_pb2.Ticket:
    return (await stub.GetTicket(pb.GetTicketRequest(ticket_id=ticket_id), metadata=shop.metadata())).ticket


async def cancel(stub, shop, ticket_id: str) -> ticket_pb2.Cancellation:
    """Cancel a ticket; the ticket showed the amount before."""
    shown = (await read(stub, shop, ticket_id)).cancel_refund
    request = pb.CancelTicketRequest(ticket_id=ticket_id)
    cancellation = (await stub.CancelTicket(request, metadata=shop.metadata())).cancellation
    assert cancellation.refund_amount == shown
    assert not (await read(stub, shop, ticket_id)).HasField("cancel_refund")
    return cancellation


async def test_a_worse_policy_holds_for_later_purchases_only(shop, stub, event):
    before = await buy(shop, event)
    await change(shop, event.event_id, refund_policy=NOTHING)
    after = await buy(shop, event)
    of_purchase, of_event = await cancel(stub, shop, before), await cancel(stub, shop, after)
    assert (of_purchase.refund_amount, of_purchase.refund_basis) == (
        money(2_500),
        ticket_pb2.REFUND_BASIS_TERMS_AT_PURCHASE,
    )
    assert (of_event.refund_amount, of_event.refund_basis) == (money(0), ticket_pb2.REFUND_BASIS_PRESENT_TERMS)


async def test_the_basis_of_a_refund_says_who_granted_more_than_the_terms(shop, stub, event):
    granted, cancelled = await buy(shop, event), await buy(shop, event)
    await move(shop, event, event.start_time.ToDatetime(tzinfo=UTC) + 10 * DAY)
    assert (await cancel(stub, shop, await buy(shop, event))).refund_basis == ticket_pb2.REFUND_BASIS_PRESENT_TERMS
    moved = await cancel(stub, shop, granted)
    assert moved.refund_basis == ticket_pb2.REFUND_BASIS_EVENT_MOVED
    worse = await shop.on_sale(ticket_price=money(2_500), refund_policy=NOTHING)
    request = pb.CancelTicketRequest(ticket_id=await buy(shop, worse), refund_amount=money(1))
    by_organizer = (await stub.CancelTicket(request, metadata=shop.metadata(Shop.OLGA))).cancellation
    assert by_organizer.refund_basis == ticket_pb2.REFUND_BASIS_CALLER
    end = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await shop.events.CancelEvent(end, metadata=shop.metadata(Shop.OLGA))
    # A holder may cancel before the batches of the event cancellation do.
    listing = pb.ListCancellationsRequest(event_id=event.event_id)

    async def bases() -> set[int]:
        found = (await stub.ListCancellations(listing, metadata=shop.metadata(Shop.OLGA))).cancellations
        return {one.refund_basis for one in found if one.ticket_id == cancelled}

    await until(bases, {ticket_pb2.REFUND_BASIS_EVENT_CANCELLED})


async def test_a_held_purchase_keeps_the_terms_of_its_order(shop, stub, event):
    held = await shop.buy(event.event_id)
    await change(shop, event.event_id, refund_policy=NOTHING)
    paid = await shop.report_payment(held, "pay-1")
    assert (await cancel(stub, shop, paid.tickets[0].ticket_id)).refund_amount == money(2_500)


async def test_a_purchase_of_an_older_version_keeps_the_terms_by_its_time(shop, stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    [version] = await database.run(lambda c: c.execute(sa.select(purchases.c.event_version)).scalars().all())
    assert version is None
    clock.advance(HOUR)
    await change(shop, str(event.event_id), refund_policy=NOTHING)
    assert (await cancel(stub, shop, str(ticket_id))).refund_amount == money(2_500)


async def test_an_event_moved_nearer_does_not_lower_the_refund(shop, stub, event, clock):
    ticket_id = await buy(shop, event)
    moved = await move(shop, event, clock() + 2 * DAY)
    assert moved.full_refund_until_time == moved.event.start_time
    assert (await cancel(stub, shop, ticket_id)).refund_percent == 100


async def test_a_move_gives_earlier_buyers_a_full_refund_for_a_time(shop, stub, event, clock):
    before = [await buy(shop, event) for _ in range(2)]
    clock.advance(9 * DAY)
    assert (await read(stub, shop, before[0])).cancel_refund == money(0)
    moved = await move(shop, event, clock() + 30 * DAY)
    until = clock() + 14 * DAY
    assert moved.full_refund_until_time.ToDatetime(UTC) == until
    repeated = await move(shop, event, clock() + 30 * DAY)
    assert (repeated.event.etag, repeated.full_refund_until_time.ToDatetime(UTC)) == (moved.event.etag, until)
    await change(shop, event.event_id, refund_policy=NOTHING)
    after = await buy(shop, event)
    shown = await read(stub, shop, before[0])
    assert (shown.cancel_refund, shown.full_refund_until_time.ToDatetime(UTC)) == (money(2_500), until)
    assert not (await read(stub, shop, after)).HasField("full_refund_until_time")
    assert (await cancel(stub, shop, before[0])).refund_percent == 100
    assert (await cancel(stub, shop, after)).refund_percent == 0
    clock.advance(15 * DAY)
    # The policy at purchase still holds, counted to the new start.
    shown = await read(stub, shop, before[1])
    assert not shown.HasField("full_refund_until_time")
    assert shown.cancel_refund == money(2_500)


async def test_the_notification_of_a_move_names_the_end_of_the_right(shop, event, clock, database):
    await move(shop, event, clock() + 30 * DAY)
    query = sa.select(outbox.c.data).where(outbox.c.kind == "event.changed")
    [data] = await database.run(lambda c: c.execute(query).scalars().all())
    assert data["full_refund_until"] == (clock() + 14 * DAY).isoformat()


@pytest.mark.parametrize("seed", range(3))
async def test_no_sequence_of_changes_lowers_a_refund(shop, stub, clock, seed):
    chance = random.Random(seed)
    event = await shop.on_sale(ticket_price=money(2_500), time_zone="Europe/Berlin")
    promised: dict[str, event_pb2.Event] = {}
    for _ in range(6):
        promised[await buy(shop, event)] = event
        clock.advance(chance.randint(0, 40) * HOUR)
        days_before, percent = chance.randint(0, 12), chance.choice([0, 30, 100])
        tier = event_pb2.RefundPolicy.Tier(days_before=days_before, percent=percent)
        start = clock() + chance.randint(1, 400) * HOUR
        fields: dict[str, Any] = {"start_time": at(start), "end_time": at(start + HOUR)}
        if chance.random() < 0.5:
            fields = {"refund_policy": event_pb2.RefundPolicy(tiers=[tier]), "location": f"Hall {days_before}"}
        event = (await change(shop, event.event_id, **fields)).event
        for ticket_id, before in promised.items():
            shown = (await read(stub, shop, ticket_id)).cancel_refund
            tiers = [RefundTier(one.days_before, one.percent) for one in before.refund_policy.tiers]
            start = before.start_time.ToDatetime(UTC)
            assert shown.minor_units >= refund(2_500, tiers, start, "Europe/Berlin", clock()).amount


async def test_a_small_shift_is_no_move(shop, event):
    shifted = await move(shop, event, event.start_time.ToDatetime(UTC) + 3 * HOUR)
    assert not shifted.HasField("full_refund_until_time")


async def test_changes_of_a_draft_keep_no_terms(shop, database):
    draft = await shop.create(ticket_price=money(2_500))
    await change(shop, draft.event_id, refund_policy=NOTHING)
    assert await database.run(lambda c: c.execute(sa.select(past_terms)).all()) == []


async def test_a_purchase_stores_the_version_of_its_event(shop, event, database):
    bought = await shop.buy(event.event_id)
    query = sa.select(purchases.c.event_version).where(purchases.c.purchase_id == UUID(bought.purchase_id))
    assert str(await database.run(lambda c: c.execute(query).scalar_one())) == event.etag
