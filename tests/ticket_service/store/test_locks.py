"""The statements that lock: which rows they lock, when a row is due, and that work in turns waits for no other session."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from tests.selling.rows import NOW, hold, sell, store_event
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.disputes import DisputeStatus
from ticket_service.domain.event_cancellation import EventCancellation
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.domain.reissues import Reissue, ReissueStatus
from ticket_service.domain.ticket_refunds import TicketRefund
from ticket_service.store import (
    cancellations,
    check_ins,
    event_cancellation,
    events,
    feed,
    holds,
    reconciler,
    refund_orders,
    reissues,
    tables,
    ticket_refunds,
    tickets,
)
from ticket_service.store.access import ANY
from ticketing.chassis.ids import new_id

BEFORE, UNTIL = NOW - timedelta(microseconds=1), NOW + timedelta(minutes=5)


@dataclass(frozen=True)
class World:
    """An event with two tickets of one purchase, a hold, and one piece of each kind of work, due at NOW."""

    event_id: UUID
    purchase_id: UUID
    held_id: UUID
    ticket_ids: Sequence[UUID]
    # The id of the cancellation, the reissue, the refund of a ticket and the refund order.
    work_id: UUID
    engine: Engine


@pytest.fixture
def world(tickets_url: URL) -> Iterator[World]:
    engine = sa.create_engine(tickets_url)
    with engine.begin() as connection:
        event = store_event(connection, now=NOW)
        ticket_ids = sorted(sell(connection, event, 2))
        held_id = hold(connection, event, due_time=NOW, hold_expire_time=NOW)
        purchase_id = connection.execute(sa.select(tables.tickets.c.purchase_id).limit(1)).scalar_one()
        made = World(event.event_id, purchase_id, held_id, ticket_ids, new_id(), engine)
        _insert_work(connection, made)
    yield made
    engine.dispose()


def _insert_work(connection: Connection, world: World) -> None:
    its: dict[str, Any] = {"event_id": world.event_id, "create_time": NOW, "due_time": NOW}
    ticket: dict[str, Any] = {**its, "ticket_id": world.ticket_ids[0], "issue": 1}
    money: dict[str, Any] = {
        "provider": "stripe",
        "payment_id": "pi_1",
        "currency": "EUR",
        "amount": 5,
        "purchase_id": world.purchase_id,
    }
    pending = CancellationStatus.PENDING
    terms: dict[str, Any] = {
        "currency": "EUR",
        "refund_amount": 0,
        "refund_percent": 0,
        "reason": "",
        "status": pending,
    }
    cancellations.insert_cancellations(connection, [Cancellation(cancellation_id=world.work_id, **ticket, **terms)])
    wanted: dict[str, Any] = {
        "caller": "alice",
        "request_id": new_id(),
        "user_id": None,
        "email": "",
        "status": ReissueStatus.PENDING,
    }
    reissues.insert_reissue(connection, Reissue(reissue_id=world.work_id, **ticket, **wanted))
    event_cancellation.insert(connection, EventCancellation(reason="", **its))
    refund_orders.insert(connection, RefundOrder(order_id=world.work_id, cancellation_id=None, **its, **money))
    refund: dict[str, Any] = {
        "event_id": world.event_id,
        "create_time": NOW,
        "ticket_id": world.ticket_ids[1],
        "reason": "",
    }
    made = TicketRefund(ticket_refund_id=new_id(), caller="olga", **refund, **money)
    ticket_refunds.insert(connection, made)
    reconciler.enqueue(connection, "stripe", ["pi_1"], NOW)


def reports(world: World) -> list[CheckIn]:
    return [CheckIn(world.event_id, ticket_id, NOW, 1) for ticket_id in world.ticket_ids]


def refund_id(connection: Connection) -> UUID:
    found: UUID = connection.execute(sa.select(tables.ticket_refunds.c.ticket_refund_id)).scalar_one()
    return found


Lock = Callable[[Connection, World], Any]
# The rows of these tables, of which each statement locks all.
LOCKS: dict[str, tuple[Lock, Sequence[sa.Table]]] = {
    "an event": (lambda c, w: events.lock_event(c, w.event_id), [tables.events]),
    "purchases": (lambda c, w: holds.lock_purchases(c, w.event_id, [w.purchase_id, w.held_id]), [tables.purchases]),
    "the tickets of a purchase": (
        lambda c, w: tickets.lock_tickets_of_purchase(c, w.event_id, w.purchase_id),
        [tables.tickets],
    ),
    "tickets, one after the other": (
        lambda c, w: [tickets.lock_ticket(c, ticket_id) for ticket_id in w.ticket_ids],
        [tables.tickets],
    ),
    "the open tickets of an event": (
        lambda c, w: event_cancellation.lock_open_tickets(c, w.event_id, None, 9),
        [tables.tickets],
    ),
    "reported tickets": (lambda c, w: check_ins.lock(c, reports(w)), [tables.tickets]),
    "a cancellation": (lambda c, w: cancellations.lock_cancellation(c, w.work_id, ANY), [tables.cancellations]),
    "pending cancellations": (
        lambda c, w: cancellations.lock_pending(c, w.event_id, [w.work_id]),
        [tables.cancellations],
    ),
    "the cancellation of an event": (lambda c, w: event_cancellation.lock(c, w.event_id), [tables.event_cancellations]),
    "a reissue": (lambda c, w: reissues.lock_reissue(c, w.event_id, w.work_id), [tables.reissues]),
    "a refund order": (lambda c, w: refund_orders.lock(c, w.event_id, w.work_id), [tables.refund_orders]),
    "the refund orders of late payments": (
        lambda c, w: refund_orders.lock_of_payments(c, w.event_id, w.purchase_id),
        [tables.refund_orders],
    ),
    "the refund of a ticket": (lambda c, w: ticket_refunds.lock(c, refund_id(c)), [tables.ticket_refunds]),
}
# The work that any process may take in turns, as of a time.
Take = Callable[[Connection, datetime], Any]
WORK: dict[str, tuple[Take, sa.Table]] = {
    "purchases": (lambda c, now: holds.claim_due(c, "stripe", now, UNTIL, 9), tables.purchases),
    "purchases of other providers": (
        lambda c, now: holds.claim_ended_of_others(c, ["other"], now, UNTIL, 9),
        tables.purchases,
    ),
    "cancellations": (lambda c, now: cancellations.lock_due(c, now, 9), tables.cancellations),
    "cancellations of events": (event_cancellation.lock_due, tables.event_cancellations),
    "reissues": (lambda c, now: reissues.lock_due(c, now, 9), tables.reissues),
    "refund orders": (lambda c, now: refund_orders.lock_due(c, "stripe", now, 9), tables.refund_orders),
    "payments to compare": (
        lambda c, now: reconciler.claim_queued(c, ["stripe"], now, UNTIL, 9),
        tables.reconciliation_queue,
    ),
}


def free_rows(engine: Engine, table: sa.Table) -> int:
    """Count the rows of a table that no session has locked."""
    with engine.begin() as connection:
        locked = sa.select(sa.literal(1)).select_from(table).with_for_update(key_share=True, skip_locked=True)
        return len(connection.execute(locked).all())


@pytest.mark.parametrize(("lock", "locked"), LOCKS.values(), ids=LOCKS)
def test_a_lock_lasts_until_the_transaction_ends(world: World, lock: Lock, locked: Sequence[sa.Table]) -> None:
    with world.engine.begin() as connection:
        assert lock(connection, world)
        assert {table.name: free_rows(world.engine, table) for table in locked} == {table.name: 0 for table in locked}
    assert all(free_rows(world.engine, table) for table in locked)


def test_pending_cancellations_are_locked_with_their_tickets_alone(world: World) -> None:
    with world.engine.begin() as connection:
        cancellations.lock_pending(connection, world.event_id, [world.work_id])
        assert (free_rows(world.engine, tables.tickets), free_rows(world.engine, tables.events)) == (1, 1)


@pytest.mark.parametrize(("take", "table"), WORK.values(), ids=WORK)
def test_work_is_taken_when_it_is_due_and_never_twice(world: World, take: Take, table: sa.Table) -> None:
    with world.engine.begin() as connection, world.engine.begin() as other:
        other.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        assert not take(connection, BEFORE)
        assert take(connection, NOW)
        # The other process goes on without the work, and without waiting for it.
        assert not take(other, NOW)


@pytest.mark.parametrize(("take", "table"), WORK.values(), ids=WORK)
def test_claimed_work_is_not_due_again_before_its_time(world: World, take: Take, table: sa.Table) -> None:
    with world.engine.begin() as connection:
        first = take(connection, NOW)
    with world.engine.begin() as connection:
        is_claim = table in {tables.purchases, tables.reconciliation_queue}
        assert bool(take(connection, NOW)) is not is_claim
        assert bool(take(connection, UNTIL)) == bool(first)


def test_work_of_another_provider_is_left_to_it(world: World) -> None:
    with world.engine.begin() as connection:
        assert not holds.claim_due(connection, "other", NOW, UNTIL, 9)
        assert not holds.claim_ended_of_others(connection, ["stripe"], NOW, UNTIL, 9)
        assert not refund_orders.lock_due(connection, "other", NOW, 9)
        assert not reconciler.claim_queued(connection, ["other"], NOW, UNTIL, 9)


def test_a_hold_that_lasts_is_not_ended_for_another_provider(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.update(tables.purchases).values(hold_expire_time=UNTIL))
        assert not holds.claim_ended_of_others(connection, ["other"], NOW, UNTIL, 9)


def test_reported_tickets_that_are_locked_are_left_out(world: World) -> None:
    with world.engine.begin() as other:
        tickets.lock_ticket(other, world.ticket_ids[0])
        with world.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            free = check_ins.lock(connection, reports(world), skip_locked=True)
    assert list(free) == [(world.event_id, world.ticket_ids[1])]


def test_the_feed_waits_for_no_other_follower(world: World) -> None:
    with world.engine.begin() as other, world.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        feed.note_follower(other, NOW)
        feed.note_follower(connection, UNTIL)
        assert connection.execute(sa.select(tables.feed.c.follow_time)).scalar_one() is None
    with world.engine.begin() as connection:
        feed.note_follower(connection, BEFORE)
        assert connection.execute(sa.select(tables.feed.c.follow_time)).scalar_one() == NOW


@pytest.mark.parametrize("status", [status for status in CancellationStatus if status != CancellationStatus.PENDING])
def test_a_cancellation_that_was_decided_is_not_pending(world: World, status: CancellationStatus) -> None:
    with world.engine.begin() as connection:
        is_over = status in {CancellationStatus.DONE, CancellationStatus.REJECTED}
        ended = {"complete_time": NOW if is_over else None}
        connection.execute(sa.update(tables.cancellations).values(status=status, **ended))
        assert cancellations.lock_pending(connection, world.event_id, [world.work_id]) == []
        assert event_cancellation.refund_pending_in_full(connection, world.event_id, world.ticket_ids) == set()


@pytest.mark.parametrize("status", [status for status in ReissueStatus if status != ReissueStatus.PENDING])
def test_a_reissue_that_was_decided_is_not_pending(world: World, status: ReissueStatus) -> None:
    with world.engine.begin() as connection:
        assert reissues.find_pending_reissue(connection, world.event_id, world.ticket_ids[0]) is not None
        connection.execute(sa.update(tables.reissues).values(status=status, complete_time=NOW, due_time=None))
        assert reissues.find_pending_reissue(connection, world.event_id, world.ticket_ids[0]) is None


@pytest.mark.parametrize("status", ["CANCELLED", "REFUNDED"])
def test_a_ticket_that_has_returned_its_place_is_not_open(world: World, status: str) -> None:
    with world.engine.begin() as connection:
        its = tables.tickets.c.ticket_id == world.ticket_ids[0]
        connection.execute(sa.update(tables.tickets).where(its).values(status=status))
        found = event_cancellation.lock_open_tickets(connection, world.event_id, None, 9)
    assert [ticket.ticket_id for ticket in found] == [world.ticket_ids[1]]


def test_an_open_dispute_stops_the_refunds_of_its_payment(world: World) -> None:
    values = {
        "event_id": world.event_id,
        "purchase_id": world.purchase_id,
        "dispute_id": new_id(),
        "provider": "stripe",
        "provider_id": "dp_1",
        "payment_id": "pi_1",
        "currency": "EUR",
        "amount": 5,
        "reason": "",
        "status": DisputeStatus.OPEN,
        "blocked_ticket_ids": [],
        "create_time": NOW,
        "update_time": NOW,
    }
    with world.engine.begin() as connection:
        connection.execute(sa.insert(tables.disputes).values(values))
        assert not refund_orders.lock_due(connection, "stripe", NOW, 9)
        connection.execute(sa.update(tables.disputes).values(status=DisputeStatus.WON))
        assert refund_orders.lock_due(connection, "stripe", NOW, 9)


def test_only_refused_refunds_of_a_payment_have_failed(world: World) -> None:
    with world.engine.begin() as connection:
        its = (connection, world.event_id, world.purchase_id, "pi_1")
        assert refund_orders.find_failed(*its) == refund_orders.find_credited(*its) == []
        connection.execute(sa.update(tables.refund_orders).values(credited=1))
        assert (len(refund_orders.find_failed(*its)), len(refund_orders.find_credited(*its))) == (0, 1)
        refused = {"status": RefundOrderStatus.FAILED, "due_time": None, "credited": 0}
        connection.execute(sa.update(tables.refund_orders).values(refused))
        assert (len(refund_orders.find_failed(*its)), len(refund_orders.find_credited(*its))) == (1, 0)


def test_a_wake_during_a_comparison_makes_the_payment_due_again(world: World) -> None:
    with world.engine.begin() as connection:
        [queued] = reconciler.claim_queued(connection, ["stripe"], NOW, UNTIL, 9)
        reconciler.enqueue(connection, "stripe", ["pi_1"], NOW)
        reconciler.finish(connection, queued, NOW)
        [again] = reconciler.claim_queued(connection, ["stripe"], NOW, UNTIL, 9)
        reconciler.finish(connection, again, NOW)
        assert reconciler.claim_queued(connection, ["stripe"], UNTIL, UNTIL, 9) == []
