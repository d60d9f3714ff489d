import asyncio
import signal
import threading
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.access import PEER_METADATA, PEER_SECRET
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.callers import ALICE, BOB, OLGA, OSCAR
from tests.selling.rows import row, sold
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.cancellations import SWEEPER_DELAY, CancellationStatus
from ticket_service.domain.events import Offer, RefundTier, TicketType
from ticket_service.domain.queries import CancellationQuery
from ticket_service.domain.refund_orders import Confirmation
from ticket_service.domain.revocations import Outcome
from ticket_service.store.tables import cancellations, events, offers, tickets
from ticket_service.use_cases.cancellations import MAX_SWEEP, MIN_RETRY_SECONDS, Cancellations, settle
from ticket_service.use_cases.refund_confirmations import RefundConfirmations
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.logs import REQUEST_ID
from ticketing.tickets.v1 import ticket_feed_service_pb2, ticket_feed_service_pb2_grpc, ticket_pb2, ticket_service_pb2
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

SHOP = Caller("shop", frozenset({Role.SERVICE}))


@pytest.fixture
def changes() -> list[None]:
    """Collect one item for each wake of the feed."""
    return []


@pytest.fixture
def canceller(database: Database, remote: ScanServiceClient, clock: Clock, changes: list[None]) -> Cancellations:
    return Cancellations(database, remote, clock, lambda: changes.append(None))


async def test_cancelling_revokes_the_ticket_and_releases_its_place(canceller, database, clock, scans, changes):
    event, [ticket_id, _] = await sold(database, clock, 2, max_participants=2)
    cancellation = await canceller.cancel(ALICE, ticket_id, "ill")
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


async def test_a_ticket_without_a_refund_is_cancelled_and_done(canceller, database, clock, scans):
    _, [ticket_id] = await sold(database, clock, starts_in=timedelta(days=2))
    cancellation = await canceller.cancel(ALICE, ticket_id, "")
    assert cancellation.status is CancellationStatus.DONE
    assert cancellation.complete_time == clock.now
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "CANCELLED"
    assert scans.calls[0].revocations[0].status == ticket_pb2.TICKET_STATUS_CANCELLED


async def test_the_refund_changes_with_the_date_within_the_price(canceller, database, clock):
    week, three_days, day, second = timedelta(days=7), timedelta(days=3), timedelta(days=1), timedelta(seconds=1)
    own: dict[str, Any] = {"refund_tiers": (RefundTier(0, 50),)}
    for before_start, changes, granted in [
        (week, {}, (333, 100)),
        (week - day, {}, (167, 50)),
        (three_days, {}, (167, 50)),
        (three_days - day, {}, (0, 0)),
        (timedelta(0), own, (167, 50)),
        # The event has begun and is not over.
        (-second, own, (0, 0)),
        (week, {"ticket_price": 0}, (0, 100)),
    ]:
        _, ticket_ids = await sold(database, clock, 2, starts_in=before_start, **{"ticket_price": 333, **changes})
        for ticket_id in ticket_ids:
            cancellation = await canceller.cancel(ALICE, ticket_id, "")
            assert (cancellation.refund_amount, cancellation.refund_percent) == granted
            is_refunded = cancellation.refund_amount > 0
            assert cancellation.status is (CancellationStatus.REFUNDING if is_refunded else CancellationStatus.DONE)
            status = (await row(database, tickets, ticket_id=ticket_id)).status
            assert status == ("REFUNDED" if is_refunded else "CANCELLED")


async def test_the_place_of_an_offer_is_released_too(canceller, database, clock):
    priced = (Offer(TicketType.STANDARD, 900, capacity=5), Offer(TicketType.VIP, 9_000, capacity=5))
    event, [ticket_id, _] = await sold(database, clock, 2, offers=priced)
    await canceller.cancel(ALICE, ticket_id, "")
    offer = await row(database, offers, event_id=event.event_id, ticket_type="STANDARD")
    assert offer.reserved == 1


async def test_the_revocation_carries_credential_and_request_id(canceller, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    REQUEST_ID.set("request-of-the-test")
    await canceller.cancel(ALICE, ticket_id, "")
    assert scans.metadata[0]["authorization"] == f"Bearer {PEER_SECRET}"
    assert scans.metadata[0]["x-request-id"] == "request-of-the-test"


async def test_a_repeated_request_returns_the_first_refund(canceller, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    first = await canceller.cancel(ALICE, ticket_id, "ill")
    clock.advance(timedelta(days=9))
    assert await canceller.cancel(ALICE, ticket_id, "changed my mind") == first
    assert len(scans.calls) == 1
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


async def test_concurrent_requests_make_one_cancellation(canceller, database, clock):
    event, [ticket_id] = await sold(database, clock)
    answers = await asyncio.gather(*(canceller.cancel(ALICE, ticket_id, str(number)) for number in range(10)))
    assert len({answer.cancellation_id for answer in answers}) == 1
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.reserved, stored.revision) == (0, 3)


async def test_a_cancellation_after_a_check_in_is_refused_and_repeatable(canceller, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    scans.admitted[str(ticket_id)] = clock.now
    with pytest.raises(Failure) as caught:
        await canceller.cancel(ALICE, ticket_id, "")
    assert caught.value.reason == "TICKET_CHECKED_IN"
    assert caught.value.metadata == {"ticket_id": str(ticket_id), "check_in_time": clock.now.isoformat()}
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "ACTIVE"
    assert (await row(database, events, event_id=event.event_id)).reserved == 1
    rejected = await row(database, cancellations, ticket_id=ticket_id)
    assert (rejected.status, rejected.check_in_time) == ("REJECTED", clock.now)
    # The check-in is annulled at the gate.
    scans.admitted.clear()
    again = await canceller.cancel(ALICE, ticket_id, "")
    assert again.status is CancellationStatus.REFUNDING
    assert again.cancellation_id != rejected.cancellation_id


@pytest.mark.parametrize("caller", [BOB, OSCAR], ids=lambda caller: caller.subject)
async def test_a_ticket_of_another_holder_is_not_found(canceller, database, clock, scans, caller):
    _, [ticket_id] = await sold(database, clock)
    with pytest.raises(Failure) as caught:
        await canceller.cancel(caller, ticket_id, "")
    assert caught.value.reason == "TICKET_NOT_FOUND"
    assert scans.calls == []


@pytest.mark.parametrize("caller", [OLGA, SHOP], ids=lambda caller: caller.subject)
async def test_the_organizer_and_services_may_cancel_for_the_holder(canceller, database, clock, caller):
    _, [ticket_id] = await sold(database, clock)
    assert (await canceller.cancel(caller, ticket_id, "")).status is CancellationStatus.REFUNDING


async def test_a_cancellation_is_pending_while_the_scan_service_is_down(canceller, database, clock, scans, scans_port):
    event, [ticket_id] = await sold(database, clock)
    await scans.stop()
    pending = await canceller.cancel(ALICE, ticket_id, "")
    assert pending.status is CancellationStatus.PENDING
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "ACTIVE"
    clock.advance(SWEEPER_DELAY)
    await canceller.sweep()
    assert (await canceller.get(ALICE, pending.cancellation_id)).attempts == 1
    await scans.start(scans_port)

    async def is_settled() -> bool:
        clock.advance(timedelta(minutes=1))
        await canceller.sweep()
        return (await canceller.get(ALICE, pending.cancellation_id)).status is not CancellationStatus.PENDING

    await until(is_settled)
    assert (await row(database, tickets, ticket_id=ticket_id)).status == "REFUNDED"
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
async def test_a_failed_call_leaves_the_cancellation_pending(canceller, database, clock, scans, code):
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = code
    assert (await canceller.cancel(ALICE, ticket_id, "")).status is CancellationStatus.PENDING
    scans.fails_with = None
    # A repeated request continues without the sweeper.
    assert (await canceller.cancel(ALICE, ticket_id, "")).status is CancellationStatus.REFUNDING


async def test_an_answer_without_the_outcome_settles_nothing(canceller, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    scans.forgets_outcomes = True
    assert (await canceller.cancel(ALICE, ticket_id, "")).status is CancellationStatus.PENDING


async def test_the_sweeper_settles_a_cancellation_after_a_crash_once(canceller, database, clock, scans):
    event, [ticket_id] = await sold(database, clock)
    scans.may_answer.clear()
    dying = asyncio.ensure_future(canceller.cancel(ALICE, ticket_id, ""))
    await scans.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    scans.may_answer.set()
    await canceller.sweep()
    assert len(scans.calls) == 1, "the caller has a head start before the sweeper"
    clock.advance(SWEEPER_DELAY)
    await asyncio.gather(canceller.sweep(), canceller.sweep())
    await canceller.sweep()
    assert len(scans.calls) == 2, "exactly one sweeper continues it"
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.reserved, stored.revision) == (0, 3)
    assert (await row(database, cancellations, ticket_id=ticket_id)).status == "REFUNDING"


async def test_settling_again_changes_nothing(canceller, database, clock):
    event, [ticket_id] = await sold(database, clock)
    cancellation = await canceller.cancel(ALICE, ticket_id, "")
    before = await row(database, tickets, ticket_id=ticket_id)
    again = {cancellation.cancellation_id: Outcome(revoked=True)}
    await database.run(lambda connection: settle(connection, event.event_id, again, clock.now + timedelta(days=1)))
    assert await row(database, tickets, ticket_id=ticket_id) == before
    assert (await row(database, events, event_id=event.event_id)).revision == 3


async def test_a_sweep_revokes_the_tickets_of_an_event_in_one_call(canceller, database, clock, scans):
    event, ticket_ids = await sold(database, clock, 5)
    _, [other_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for ticket_id in [*ticket_ids, other_id]:
        await canceller.cancel(ALICE, ticket_id, "")
    scans.fails_with, scans.calls = None, []
    # A gate has admitted one of them before.
    scans.admitted[str(ticket_ids[0])] = clock.now
    clock.advance(SWEEPER_DELAY)
    assert await canceller.sweep() is False
    assert sorted(len(call.revocations) for call in scans.calls) == [1, 5]
    query = sa.select(tickets).where(tickets.c.event_id == event.event_id).order_by(tickets.c.revision)
    rows = await database.run(lambda connection: connection.execute(query).all())
    assert [(stored.status, stored.revision) for stored in rows] == [
        ("ACTIVE", 2),
        *(("REFUNDED", revision) for revision in (7, 8, 9, 10)),
    ]
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.revision, stored.reserved) == (10, 1)


async def test_a_failed_revocation_does_not_delay_other_events(canceller, database, clock, scans, monkeypatch):
    _, [poisoned] = await sold(database, clock)
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for one in (poisoned, ticket_id):
        await canceller.cancel(ALICE, one, "")
    scans.fails_with = None
    clock.advance(SWEEPER_DELAY)
    settle_one = scans._settle  # noqa: SLF001 - the test's own stand-in

    def fail_one(revocation):
        if revocation.ticket_id == str(poisoned):
            raise RuntimeError("as the test asked for")
        return settle_one(revocation)

    monkeypatch.setattr(scans, "_settle", fail_one)
    await canceller.sweep()
    assert (await row(database, cancellations, ticket_id=ticket_id)).status == "REFUNDING"
    assert (await row(database, cancellations, ticket_id=poisoned)).status == "PENDING"


async def test_a_sweep_skips_rows_that_another_process_has_locked(canceller, database, clock, scans):
    _, [locked] = await sold(database, clock)
    _, [free] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    for ticket_id in (locked, free):
        await canceller.cancel(ALICE, ticket_id, "")
    scans.fails_with = None
    clock.advance(SWEEPER_DELAY)
    is_locked, may_end = threading.Event(), threading.Event()
    lock = sa.select(cancellations).where(cancellations.c.ticket_id == locked).with_for_update()

    def look(connection: Connection) -> None:
        connection.execute(lock)
        is_locked.set()
        may_end.wait(20)

    looking = asyncio.ensure_future(database.run(look))
    await asyncio.to_thread(is_locked.wait, 20)
    await canceller.sweep()
    assert (await row(database, cancellations, ticket_id=free)).status == "REFUNDING"
    may_end.set()
    await looking


async def test_a_ticket_locked_at_the_gates_delays_its_own_cancellation_alone(canceller, database, clock, scans):
    _, [locked, free] = await sold(database, clock, 2)
    scans.locked.add(str(locked))
    # The answer of a locked ticket is neither a revocation nor a check-in.
    assert (await canceller.cancel(ALICE, locked, "")).status is CancellationStatus.PENDING
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await canceller.cancel(ALICE, free, "")
    scans.fails_with = None
    clock.advance(timedelta(seconds=30))
    await canceller.sweep()
    # Both stood in one call to the scan service.
    assert [len(call.revocations) for call in scans.calls] == [1, 1, 2]
    assert (await row(database, cancellations, ticket_id=free)).status == "REFUNDING"
    assert (await row(database, cancellations, ticket_id=locked)).status == "PENDING"
    scans.locked.clear()
    clock.advance(timedelta(seconds=30))
    await canceller.sweep()
    assert (await row(database, cancellations, ticket_id=locked)).status == "REFUNDING"


async def test_the_wait_between_tries_grows_to_half_a_minute(canceller, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await canceller.cancel(ALICE, ticket_id, "")
    for attempts in range(1, 9):
        clock.advance(timedelta(seconds=30))
        await canceller.sweep()
        stored = await row(database, cancellations, ticket_id=ticket_id)
        assert stored.attempts == attempts
        wait = (stored.due_time - clock.now).total_seconds()
        assert MIN_RETRY_SECONDS <= wait <= min(30, MIN_RETRY_SECONDS + 2 ** (attempts - 1))


async def test_a_sweep_is_bounded_and_reports_that_more_is_due(canceller, database, clock, scans):
    _, ticket_ids = await sold(database, clock, MAX_SWEEP + 1)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await canceller.cancel(ALICE, ticket_ids[0], "")
    rows = [
        {**(await row(database, cancellations, ticket_id=ticket_ids[0]))._asdict(), "cancellation_id": new_id()}
        | {"ticket_id": ticket_id}
        for ticket_id in ticket_ids[1:]
    ]
    await database.run(lambda connection: connection.execute(sa.insert(cancellations), rows))
    scans.fails_with = None
    clock.advance(SWEEPER_DELAY)
    assert await canceller.sweep() is True
    assert await canceller.sweep() is False
    assert await canceller.sweep() is False
    query = CancellationQuery(CancellationStatus.REFUNDING, event_id=None, user_id="")
    assert len(await canceller.list(ALICE, query, None, 2 * MAX_SWEEP)) == MAX_SWEEP + 1


async def test_a_service_or_the_organizer_confirms_a_refund(canceller, database, clock):
    _, [ticket_id] = await sold(database, clock)
    cancellation_id = (await canceller.cancel(ALICE, ticket_id, "")).cancellation_id
    confirmations, made = RefundConfirmations(database, clock), Confirmation("refund-1", by_hand=False)
    # The holder of a ticket may be the organizer of another event.
    holder = Caller("alice", frozenset({Role.ORGANIZER}))
    for caller in (OSCAR, holder):
        with pytest.raises(Failure) as caught:
            await confirmations.of_cancellation(caller, cancellation_id, made)
        assert caught.value.reason == "CANCELLATION_NOT_FOUND"
    await confirmations.of_cancellation(OLGA, cancellation_id, made)
    await confirmations.of_cancellation(SHOP, cancellation_id, made)
    done = await canceller.get(ALICE, cancellation_id)
    assert (done.status, done.refund_id, done.complete_time) == (CancellationStatus.DONE, "refund-1", clock.now)


@pytest.mark.slow
async def test_the_next_process_settles_after_a_kill(database, tickets_url, scans, environment_of, issuer):
    _, [ticket_id] = await sold(database, system_clock)
    variables = environment_of(
        TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.1",
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
    # End the head start of the killed process.
    now = sa.update(cancellations).values(due_time=sa.func.now())
    await database.run(lambda connection: connection.execute(now))
    with await asyncio.to_thread(TicketProcess, variables) as next_one:
        async with grpc.aio.insecure_channel(next_one.address) as channel, asyncio.timeout(20):
            feed = ticket_feed_service_pb2_grpc.TicketFeedServiceStub(channel)
            watching = ticket_feed_service_pb2.WatchTicketsRequest()
            async for message in feed.WatchTickets(watching, metadata=PEER_METADATA):
                if [ticket.status for ticket in message.tickets] == [ticket_pb2.TICKET_STATUS_REFUNDED]:
                    break
            answer = await TicketServiceStub(channel).CancelTicket(request, metadata=issuer.metadata())
    assert answer.cancellation.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING
    assert len(scans.settled) == 1
