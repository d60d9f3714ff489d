import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.access import PEER_METADATA, PEER_SECRET
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.rows import sell, store_event
from tests.stand_ins.revocations import ScansStandIn
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.cancellations import HEAD_START, CancellationStatus
from ticket_service.domain.events import Event, Offer, RefundTier, TicketType
from ticket_service.domain.revocations import Outcome
from ticket_service.store.tables import cancellations, events, offers, tickets
from ticket_service.use_cases.cancellations import (
    MAX_SWEEP,
    SHORTEST_RETRY_SECONDS,
    CancellationQuery,
    Cancellations,
    settle,
)
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.peer_client import PeerClient
from ticketing.tickets.v1 import (
    ticket_feed_service_pb2,
    ticket_feed_service_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
)
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

ALICE = Caller("alice", frozenset({Role.USER}))
BOB = Caller("bob", frozenset({Role.USER}))
OLGA = Caller("olga", frozenset({Role.ORGANIZER}))
OSCAR = Caller("oscar", frozenset({Role.ORGANIZER}))
SHOP = Caller("shop", frozenset({Role.SERVICE}))


@pytest.fixture
def changes() -> list[None]:
    """Grow whenever the feed would be woken."""
    return []


@pytest.fixture
async def giving_back(
    database: Database, clock: Clock, scans: ScansStandIn, scans_port: int, changes: list[None]
) -> AsyncIterator[Cancellations]:
    await scans.start(scans_port)
    peer = PeerClient(f"127.0.0.1:{scans_port}", PEER_SECRET)
    yield Cancellations(database, ScanServiceClient(peer), clock, lambda: changes.append(None))
    await peer.close()


async def sold(database: Database, clock: Clock, count: int = 1, **wanted: Any) -> tuple[Event, list[UUID]]:
    def work(connection: Connection) -> tuple[Event, list[UUID]]:
        event = store_event(connection, now=clock(), **wanted)
        return event, sell(connection, event, count)

    return await database.run(work)


async def row(database: Database, table: sa.Table, **key: Any) -> sa.Row[Any]:
    query = sa.select(table).filter_by(**key)
    return await database.run(lambda connection: connection.execute(query).one())


async def test_a_ticket_is_given_back_its_place_is_free_and_gates_are_told(
    giving_back, database, clock, scans, changes
):
    event, [ticket_id, _] = await sold(database, clock, 2, max_participants=2)
    cancellation = await giving_back.cancel(ALICE, ticket_id, "ill")
    assert cancellation.status is CancellationStatus.REFUNDING
    assert (cancellation.refund_amount, cancellation.refund_percent, cancellation.reason) == (2_500, 100, "ill")
    ticket = await row(database, tickets, ticket_id=ticket_id)
    stored = await row(database, events, event_id=event.event_id)
    assert (ticket.status, ticket.revision, ticket.update_time) == ("REFUNDED", 4, clock.now)
    assert (stored.revision, stored.reserved, stored.changed_revision) == (4, 1, 1)
    [revocation] = scans.calls[0].revocations
    assert revocation.revocation_id == str(cancellation.cancellation_id)
    assert revocation.status == ticket_pb2.TICKET_STATUS_REFUNDED
    assert (revocation.issue, revocation.even_if_checked_in) == (1, False)
    assert changes


async def test_a_ticket_without_a_refund_is_cancelled_and_done(giving_back, database, clock, scans):
    _, [ticket_id] = await sold(database, clock, starts_in=timedelta(days=2))
    cancellation = await giving_back.cancel(ALICE, ticket_id, "")
    assert cancellation.status is CancellationStatus.DONE
    assert cancellation.complete_time == clock.now
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "CANCELLED"
    assert scans.calls[0].revocations[0].status == ticket_pb2.TICKET_STATUS_CANCELLED


async def test_what_is_granted_changes_to_the_second_and_never_exceeds_what_was_paid(giving_back, database, clock):
    week, three_days, second = timedelta(days=7), timedelta(days=3), timedelta(seconds=1)
    own: dict[str, Any] = {"refund_tiers": (RefundTier(0, 50),)}
    for before_start, changes, granted in [
        (week, {}, (333, 100)),
        (week - second, {}, (167, 50)),
        (three_days, {}, (167, 50)),
        (three_days - second, {}, (0, 0)),
        (timedelta(0), own, (167, 50)),
        # It has begun, and goes on.
        (-second, own, (0, 0)),
        (week, {"ticket_price": 0}, (0, 100)),
    ]:
        _, ticket_ids = await sold(database, clock, 2, starts_in=before_start, **{"ticket_price": 333, **changes})
        for ticket_id in ticket_ids:
            cancellation = await giving_back.cancel(ALICE, ticket_id, "")
            assert (cancellation.refund_amount, cancellation.refund_percent) == granted
            is_owed = cancellation.refund_amount > 0
            assert cancellation.status is (CancellationStatus.REFUNDING if is_owed else CancellationStatus.DONE)
            status = (await row(database, tickets, ticket_id=ticket_id)).status
            assert status == ("REFUNDED" if is_owed else "CANCELLED")


async def test_the_place_of_an_offer_is_free_too(giving_back, database, clock):
    priced = (Offer(TicketType.STANDARD, 900, capacity=5), Offer(TicketType.VIP, 9_000, capacity=5))
    event, [ticket_id, _] = await sold(database, clock, 2, offers=priced)
    await giving_back.cancel(ALICE, ticket_id, "")
    offer = await row(database, offers, event_id=event.event_id, ticket_type="STANDARD")
    assert offer.reserved == 1


async def test_the_call_carries_our_credential_and_the_request_id(giving_back, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    REQUEST_ID.set("request-of-the-test")
    await giving_back.cancel(ALICE, ticket_id, "")
    assert scans.metadata[0]["authorization"] == f"Bearer {PEER_SECRET}"
    assert scans.metadata[0]["x-request-id"] == "request-of-the-test"


async def test_asked_again_it_is_the_same_cancellation_with_the_first_refund(giving_back, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    first = await giving_back.cancel(ALICE, ticket_id, "ill")
    clock.advance(timedelta(days=9))
    assert await giving_back.cancel(ALICE, ticket_id, "changed my mind") == first
    assert len(scans.calls) == 1
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


async def test_many_who_cancel_one_ticket_at_once_make_one_cancellation(giving_back, database, clock):
    event, [ticket_id] = await sold(database, clock)
    answers = await asyncio.gather(*(giving_back.cancel(ALICE, ticket_id, str(number)) for number in range(10)))
    assert len({answer.cancellation_id for answer in answers}) == 1
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.reserved, stored.revision) == (0, 3)


async def test_where_a_gate_was_first_nothing_changes_and_it_may_be_asked_again(giving_back, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    scans.admitted[str(ticket_id)] = clock.now
    with pytest.raises(Failure) as caught:
        await giving_back.cancel(ALICE, ticket_id, "")
    assert caught.value.reason == "TICKET_CHECKED_IN"
    assert caught.value.metadata == {"ticket_id": str(ticket_id), "check_in_time": clock.now.isoformat()}
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "ACTIVE"
    assert (await row(database, events, event_id=event.event_id)).reserved == 1
    rejected = await row(database, cancellations, ticket_id=ticket_id)
    assert (rejected.status, rejected.check_in_time) == ("REJECTED", clock.now)
    # The check-in is annulled at the gate.
    scans.admitted.clear()
    again = await giving_back.cancel(ALICE, ticket_id, "")
    assert again.status is CancellationStatus.REFUNDING
    assert again.cancellation_id != rejected.cancellation_id


@pytest.mark.parametrize("caller", [BOB, OSCAR], ids=lambda caller: caller.subject)
async def test_a_ticket_of_somebody_else_does_not_exist(giving_back, database, clock, scans, caller):
    _, [ticket_id] = await sold(database, clock)
    with pytest.raises(Failure) as caught:
        await giving_back.cancel(caller, ticket_id, "")
    assert caught.value.reason == "TICKET_NOT_FOUND"
    assert scans.calls == []


@pytest.mark.parametrize("caller", [OLGA, SHOP], ids=lambda caller: caller.subject)
async def test_the_organizer_and_services_may_give_back_for_the_holder(giving_back, database, clock, caller):
    _, [ticket_id] = await sold(database, clock)
    assert (await giving_back.cancel(caller, ticket_id, "")).status is CancellationStatus.REFUNDING


async def test_while_the_scan_service_is_away_it_is_pending_and_completes_by_sweeping(
    giving_back, database, clock, scans, scans_port
):
    event, [ticket_id] = await sold(database, clock)
    await scans.stop()
    pending = await giving_back.cancel(ALICE, ticket_id, "")
    assert pending.status is CancellationStatus.PENDING
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "ACTIVE"
    clock.advance(HEAD_START)
    await giving_back.sweep()
    assert (await giving_back.get(ALICE, pending.cancellation_id)).attempts == 1
    await scans.start(scans_port)

    async def is_settled() -> bool:
        clock.advance(timedelta(minutes=1))
        await giving_back.sweep()
        return (await giving_back.get(ALICE, pending.cancellation_id)).status is not CancellationStatus.PENDING

    await until(is_settled)
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "REFUNDED"
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_a_call_that_fails_leaves_it_pending(giving_back, database, clock, scans, code):
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = code
    assert (await giving_back.cancel(ALICE, ticket_id, "")).status is CancellationStatus.PENDING
    scans.fails_with = None
    # The caller who asks again goes on, without waiting for the sweeper.
    assert (await giving_back.cancel(ALICE, ticket_id, "")).status is CancellationStatus.REFUNDING


async def test_an_answer_to_something_else_settles_nothing(giving_back, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    scans.forgets_outcomes = True
    assert (await giving_back.cancel(ALICE, ticket_id, "")).status is CancellationStatus.PENDING


async def test_what_a_crash_left_between_revocation_and_settlement_is_settled_once(giving_back, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    scans.may_answer.clear()
    dying = asyncio.ensure_future(giving_back.cancel(ALICE, ticket_id, ""))
    await scans.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    scans.may_answer.set()
    await giving_back.sweep()
    assert len(scans.calls) == 1, "the sweeper leaves a caller its head start"
    clock.advance(HEAD_START)
    await asyncio.gather(giving_back.sweep(), giving_back.sweep())
    await giving_back.sweep()
    assert len(scans.calls) == 2, "one of the sweepers has it, and then nobody"
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.reserved, stored.revision) == (0, 3)
    assert (await row(database, cancellations, ticket_id=ticket_id)).status == "REFUNDING"


async def test_settling_again_changes_nothing(giving_back, database, clock):
    event, [ticket_id] = await sold(database, clock)
    cancellation = await giving_back.cancel(ALICE, ticket_id, "")
    before = await row(database, tickets, ticket_id=ticket_id)
    again = {cancellation.cancellation_id: Outcome(revoked=True)}
    await database.run(lambda connection: settle(connection, event.event_id, again, clock.now + timedelta(days=1)))
    assert await row(database, tickets, ticket_id=ticket_id) == before
    assert (await row(database, events, event_id=event.event_id)).revision == 3


async def test_a_sweep_takes_the_tickets_of_an_event_in_one_call_and_each_gets_a_revision(
    giving_back, database, clock, scans
):
    event, ticket_ids = await sold(database, clock, 5)
    _, [other_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for ticket_id in [*ticket_ids, other_id]:
        await giving_back.cancel(ALICE, ticket_id, "")
    scans.fails_with, scans.calls = None, []
    # A gate was first for one of them.
    scans.admitted[str(ticket_ids[0])] = clock.now
    clock.advance(HEAD_START)
    assert await giving_back.sweep() is False
    assert sorted(len(call.revocations) for call in scans.calls) == [1, 5]
    query = sa.select(tickets).where(tickets.c.event_id == event.event_id).order_by(tickets.c.revision)
    rows = await database.run(lambda connection: connection.execute(query).all())
    assert [(stored.status, stored.revision) for stored in rows] == [
        ("ACTIVE", 2),
        *(("REFUNDED", revision) for revision in (7, 8, 9, 10)),
    ]
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.revision, stored.reserved) == (10, 1)


async def test_an_event_whose_revocation_fails_holds_no_other_up(giving_back, database, clock, scans, monkeypatch):
    _, [poisoned] = await sold(database, clock)
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for one in (poisoned, ticket_id):
        await giving_back.cancel(ALICE, one, "")
    scans.fails_with = None
    clock.advance(HEAD_START)
    settle_one = scans._settle  # noqa: SLF001 - the test's own stand-in

    def fail_one(revocation):
        if revocation.ticket_id == str(poisoned):
            raise RuntimeError("as the test asked for")
        return settle_one(revocation)

    monkeypatch.setattr(scans, "_settle", fail_one)
    await giving_back.sweep()
    assert (await row(database, cancellations, ticket_id=ticket_id)).status == "REFUNDING"
    assert (await row(database, cancellations, ticket_id=poisoned)).status == "PENDING"


async def test_a_sweep_passes_by_what_another_process_is_looking_at(giving_back, database, clock, scans):
    _, [theirs] = await sold(database, clock)
    _, [ours] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for ticket_id in (theirs, ours):
        await giving_back.cancel(ALICE, ticket_id, "")
    scans.fails_with = None
    clock.advance(HEAD_START)
    is_locked, may_end = threading.Event(), threading.Event()
    lock = sa.select(cancellations).where(cancellations.c.ticket_id == theirs).with_for_update()

    def look(connection: Connection) -> None:
        connection.execute(lock)
        is_locked.set()
        may_end.wait(20)

    looking = asyncio.ensure_future(database.run(look))
    await asyncio.to_thread(is_locked.wait, 20)
    await giving_back.sweep()
    assert (await row(database, cancellations, ticket_id=ours)).status == "REFUNDING"
    may_end.set()
    await looking


async def test_tries_come_further_apart_up_to_half_a_minute(giving_back, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await giving_back.cancel(ALICE, ticket_id, "")
    for attempts in range(1, 9):
        clock.advance(timedelta(seconds=30))
        await giving_back.sweep()
        stored = await row(database, cancellations, ticket_id=ticket_id)
        assert stored.attempts == attempts
        wait = (stored.due_time - clock.now).total_seconds()
        assert SHORTEST_RETRY_SECONDS <= wait <= min(30, SHORTEST_RETRY_SECONDS + 2 ** (attempts - 1))


async def test_a_sweep_is_bounded_and_says_that_there_is_more(giving_back, database, clock, scans):
    _, ticket_ids = await sold(database, clock, MAX_SWEEP + 1)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await giving_back.cancel(ALICE, ticket_ids[0], "")
    rows = [
        {**(await row(database, cancellations, ticket_id=ticket_ids[0]))._asdict(), "cancellation_id": new_id()}
        | {"ticket_id": ticket_id}
        for ticket_id in ticket_ids[1:]
    ]
    await database.run(lambda connection: connection.execute(sa.insert(cancellations), rows))
    scans.fails_with = None
    clock.advance(HEAD_START)
    assert await giving_back.sweep() is True
    assert await giving_back.sweep() is False
    assert await giving_back.sweep() is False
    query = CancellationQuery(CancellationStatus.REFUNDING, event_id=None, user_id="")
    assert len(await giving_back.list(ALICE, query, None, 2 * MAX_SWEEP)) == MAX_SWEEP + 1


async def test_a_refund_is_confirmed_by_a_service_or_the_organizer_but_not_by_its_receiver(
    giving_back, database, clock
):
    _, [ticket_id] = await sold(database, clock)
    cancellation_id = (await giving_back.cancel(ALICE, ticket_id, "")).cancellation_id
    # An organizer who holds a ticket of somebody else's event is its receiver.
    holder = Caller("alice", frozenset({Role.ORGANIZER}))
    for caller in (OSCAR, holder):
        with pytest.raises(Failure) as caught:
            await giving_back.confirm_refund(caller, cancellation_id, "refund-1")
        assert caught.value.reason == "CANCELLATION_NOT_FOUND"
    await giving_back.confirm_refund(OLGA, cancellation_id, "refund-1")
    await giving_back.confirm_refund(SHOP, cancellation_id, "refund-1")
    done = await giving_back.get(ALICE, cancellation_id)
    assert (done.status, done.refund_id, done.complete_time) == (CancellationStatus.DONE, "refund-1", clock.now)


@pytest.mark.slow
async def test_a_process_killed_between_revocation_and_settlement_leaves_it_to_the_next(
    database, tickets_url, scans, environment_of, issuer
):
    _, [ticket_id] = await sold(database, system_clock)
    variables = environment_of(
        TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.05",
    )
    scans.may_answer.clear()
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=str(ticket_id))
    with await asyncio.to_thread(TicketProcess, variables) as killed:
        async with grpc.aio.insecure_channel(killed.address) as channel:
            dying = TicketServiceStub(channel).CancelTicket(request, metadata=issuer.metadata())
            waiting = asyncio.ensure_future(dying.code())
            async with asyncio.timeout(20):
                await scans.called.wait()
                killed.end(signal.SIGKILL)
                assert await waiting is grpc.StatusCode.UNAVAILABLE
    scans.may_answer.set()
    # The head start of a caller who is gone is over.
    now = sa.update(cancellations).values(due_time=sa.func.now())
    await database.run(lambda connection: connection.execute(now))
    with await asyncio.to_thread(TicketProcess, variables) as next_one:
        async with grpc.aio.insecure_channel(next_one.address) as channel, asyncio.timeout(20):
            feed = ticket_feed_service_pb2_grpc.TicketFeedServiceStub(channel)
            watching = ticket_feed_service_pb2.WatchTicketsRequest()
            async for message in feed.WatchTickets(watching, metadata=PEER_METADATA):
                if [ticket.status for ticket in message.tickets] == [ticket_pb2.TICKET_STATUS_REFUNDED]:
                    break
            told = await TicketServiceStub(channel).CancelTicket(request, metadata=issuer.metadata())
    assert told.cancellation.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING
    assert len(scans.settled) == 1
