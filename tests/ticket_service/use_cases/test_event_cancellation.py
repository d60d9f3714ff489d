import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.access import Issuer
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.callers import ALICE, OLGA, OSCAR
from tests.selling.rows import CHANGE_RULES, change, row, sold, store_event
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.cancellations import SWEEPER_DELAY
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.events import EventStatus
from ticket_service.domain.refund_orders import Confirmation
from ticket_service.store.tables import cancellations, event_cancellations, events, tickets
from ticket_service.use_cases import check_ins, event_cancellation
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.events import Events
from ticket_service.use_cases.refund_confirmations import RefundConfirmations
from ticketing.chassis.clock import Clock, system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.tickets.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc

# 50,000 for the figures of a release; a few batches show that it works.
TICKETS = int(os.environ.get("TICKETING_CANCELLED_TICKETS", "600"))


@pytest.fixture
def canceller(database: Database, remote: ScanServiceClient, clock: Clock) -> Cancellations:
    return Cancellations(database, remote, clock, lambda: None)


@pytest.fixture
def event_canceller(
    database: Database, remote: ScanServiceClient, canceller: Cancellations, clock: Clock
) -> EventCancellations:
    return EventCancellations(database, remote, canceller, CHANGE_RULES, clock)


@pytest.fixture
def new_process(database: Database, remote: ScanServiceClient, canceller: Cancellations, clock: Clock):
    """Return a factory of event cancellations, each as in a process of its own."""
    return lambda: EventCancellations(database, remote, canceller, CHANGE_RULES, clock)


@pytest.fixture
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_cancellation, "BATCH_TICKETS", 2)


async def statuses(database: Database, table: sa.Table, event_id: UUID) -> Counter[str]:
    query = sa.select(table.c.status).where(table.c.event_id == event_id)
    return Counter(await database.run(lambda connection: connection.execute(query).scalars().all()))


async def to_the_end(sweep: Callable[[], Awaitable[bool]]) -> None:
    while await sweep():
        pass


@pytest.mark.usefixtures("batches_of_two")
async def test_sales_stop_gates_close_and_every_ticket_is_refunded_in_full(event_canceller, database, clock, scans):
    event, _ = await sold(database, clock, 5, starts_in=timedelta(hours=1))
    answer, gates_closed = await event_canceller.cancel(OLGA, event.event_id, "storm")
    assert (answer.status, answer.version, gates_closed) == (EventStatus.CANCELLED, 3, True)
    assert answer.changed_revision == answer.revision
    assert scans.closed == [str(event.event_id)]
    await to_the_end(event_canceller.sweep)
    assert [len(call.revocations) for call in scans.calls] == [2, 2, 1]
    assert await statuses(database, tickets, event.event_id) == {"REFUNDED": 5}
    assert await statuses(database, cancellations, event.event_id) == {"REFUNDING": 5}
    stored = await row(database, events, event_id=event.event_id)
    assert stored.reserved == 0
    query = sa.select(cancellations.c.refund_amount, cancellations.c.refund_percent, cancellations.c.reason)
    assert set(await database.run(lambda connection: connection.execute(query).all())) == {(2_500, 100, "storm")}
    finished = await row(database, event_cancellations, event_id=event.event_id)
    assert (finished.complete_time, finished.due_time) == (clock.now, None)


async def test_free_tickets_are_cancelled_without_a_refund(event_canceller, database, clock):
    event, _ = await sold(database, clock, 2, ticket_price=0)
    await event_canceller.cancel(OLGA, event.event_id, "")
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, tickets, event.event_id) == {"CANCELLED": 2}
    assert await statuses(database, cancellations, event.event_id) == {"DONE": 2}


async def test_without_the_scan_service_nothing_is_refunded(event_canceller, database, clock, scans, scans_port):
    event, _ = await sold(database, clock, 2)
    await scans.stop()
    _, gates_closed = await event_canceller.cancel(OLGA, event.event_id, "")
    assert not gates_closed
    assert not await event_canceller.sweep(), "the caller has a head start before the sweeper"
    clock.advance(SWEEPER_DELAY)
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, tickets, event.event_id) == {"ACTIVE": 2}
    assert (await row(database, event_cancellations, event_id=event.event_id)).attempts > 0
    await scans.start(scans_port)

    async def swept() -> dict[str, int]:
        clock.advance(timedelta(minutes=1))
        await event_canceller.sweep()
        return await statuses(database, tickets, event.event_id)

    await until(swept, {"REFUNDED": 2})
    assert scans.closed == [str(event.event_id)]


async def test_a_repeated_request_closes_the_gates(event_canceller, database, clock, scans):
    event, _ = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    first, gates_closed = await event_canceller.cancel(OLGA, event.event_id, "storm")
    assert not gates_closed
    scans.fails_with = None
    assert await event_canceller.cancel(OLGA, event.event_id, "another word") == (first, True)
    assert await event_canceller.cancel(OLGA, event.event_id, "storm") == (first, True)
    assert len(scans.closed) == 1
    assert (await row(database, event_cancellations, event_id=event.event_id)).reason == "storm"


async def test_a_draft_can_be_cancelled(event_canceller, database, clock):
    event = await database.run(lambda c: store_event(c, now=clock(), status=EventStatus.DRAFT))
    answer, gates_closed = await event_canceller.cancel(OLGA, event.event_id, "")
    assert (answer.status, gates_closed) == (EventStatus.CANCELLED, True)
    await to_the_end(event_canceller.sweep)
    assert (await row(database, event_cancellations, event_id=event.event_id)).complete_time == clock.now


async def test_an_ended_event_is_cancelled_and_refunded_except_for_check_ins(event_canceller, database, clock, scans):
    event, [inside, _] = await sold(database, clock, 2)
    await change(database, inside, check_in_time=clock())
    clock.advance(timedelta(days=11))
    answer, gates_closed = await event_canceller.cancel(OLGA, event.event_id, "the band never came")
    assert (answer.status, gates_closed, scans.closed) == (EventStatus.CANCELLED, True, [str(event.event_id)])
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, tickets, event.event_id) == {"ACTIVE": 1, "REFUNDED": 1}
    refund = await row(database, cancellations, event_id=event.event_id)
    assert (refund.refund_amount, refund.refund_percent) == (2_500, 100)


async def test_an_event_is_not_cancelled_long_after_its_end(event_canceller, database, clock, scans):
    event, _ = await sold(database, clock)
    clock.now = event.end_time + timedelta(days=30)
    with pytest.raises(Failure) as caught:
        await event_canceller.cancel(OLGA, event.event_id, "")
    assert caught.value.reason == "ILLEGAL_TRANSITION"
    assert caught.value.metadata == {"from": "COMPLETED", "to": "CANCELLED"}
    assert scans.closed == []


async def test_an_event_of_another_organizer_is_not_found(event_canceller, database, clock):
    event, _ = await sold(database, clock)
    with pytest.raises(Failure) as caught:
        await event_canceller.cancel(OSCAR, event.event_id, "")
    assert caught.value.reason == "EVENT_NOT_FOUND"


async def test_a_checked_in_ticket_stays_valid_reported_or_not(event_canceller, database, clock, scans):
    event, [known, unknown, outside] = await sold(database, clock, 3)
    await change(database, known, check_in_time=clock.now)
    scans.admitted[str(unknown)] = clock.now
    await event_canceller.cancel(OLGA, event.event_id, "")
    await to_the_end(event_canceller.sweep)
    assert [revocation.ticket_id for call in scans.calls for revocation in call.revocations] == [
        str(unknown),
        str(outside),
    ]
    assert await statuses(database, tickets, event.event_id) == {"ACTIVE": 2, "REFUNDED": 1}
    assert await statuses(database, cancellations, event.event_id) == {"REJECTED": 1, "REFUNDING": 1}
    assert (await row(database, events, event_id=event.event_id)).reserved == 2


async def test_a_blocked_ticket_is_refunded_too(event_canceller, database, clock):
    event, [ticket_id] = await sold(database, clock)
    await change(database, ticket_id, status="BLOCKED")
    await event_canceller.cancel(OLGA, event.event_id, "")
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, tickets, event.event_id) == {"REFUNDED": 1}


async def test_a_pending_cancellation_settles_once_with_a_full_refund(
    event_canceller, canceller, database, clock, scans
):
    event, [ticket_id, _] = await sold(database, clock, 2, starts_in=timedelta(days=5))
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    own = await canceller.cancel(ALICE, ticket_id, "ill")
    assert own.refund_percent == 50
    scans.fails_with = None
    await event_canceller.cancel(OLGA, event.event_id, "storm")
    await to_the_end(event_canceller.sweep)
    clock.advance(SWEEPER_DELAY)
    await canceller.sweep()
    settled = await canceller.get(ALICE, own.cancellation_id)
    assert (settled.status, settled.refund_amount, settled.refund_percent) == ("REFUNDING", 2_500, 100)
    assert await statuses(database, cancellations, event.event_id) == {"REFUNDING": 2}
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


async def test_a_pending_cancellation_settled_early_is_refunded_in_full(
    event_canceller, canceller, database, clock, scans
):
    event, [ticket_id] = await sold(database, clock, starts_in=timedelta(days=5))
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    own = await canceller.cancel(ALICE, ticket_id, "ill")
    scans.fails_with = None
    await event_canceller.cancel(OLGA, event.event_id, "storm")
    clock.advance(SWEEPER_DELAY)
    await canceller.sweep()
    settled = await canceller.get(ALICE, own.cancellation_id)
    assert (settled.status, settled.refund_amount, settled.refund_percent) == ("REFUNDING", 2_500, 100)


async def test_a_cancellation_before_its_batch_is_refunded_in_full(event_canceller, canceller, database, clock):
    event, [ticket_id] = await sold(database, clock, starts_in=timedelta(hours=1))
    await event_canceller.cancel(OLGA, event.event_id, "")
    own = await canceller.cancel(ALICE, ticket_id, "")
    assert (own.refund_amount, own.refund_percent) == (2_500, 100)
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, cancellations, event.event_id) == {"REFUNDING": 1}


@pytest.mark.usefixtures("batches_of_two")
async def test_after_a_crash_the_batch_is_settled_and_the_next_begins(
    event_canceller, canceller, database, clock, scans
):
    event, _ = await sold(database, clock, 5)
    await event_canceller.cancel(OLGA, event.event_id, "")
    scans.may_answer.clear()
    dying = asyncio.ensure_future(event_canceller.sweep())
    await scans.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    scans.may_answer.set()
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, cancellations, event.event_id) == {"PENDING": 2, "REFUNDING": 3}
    clock.advance(SWEEPER_DELAY)
    await canceller.sweep()
    assert await statuses(database, tickets, event.event_id) == {"REFUNDED": 5}
    assert await statuses(database, cancellations, event.event_id) == {"REFUNDING": 5}
    assert (await row(database, events, event_id=event.event_id)).reserved == 0


@pytest.mark.usefixtures("batches_of_two")
async def test_an_outage_postpones_the_remaining_batches(event_canceller, canceller, database, clock, scans):
    event, _ = await sold(database, clock, 5)
    await event_canceller.cancel(OLGA, event.event_id, "")
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await to_the_end(event_canceller.sweep)
    assert len(scans.calls) == 1, "the next batch waits for its retry"
    scans.fails_with = None
    clock.advance(timedelta(minutes=1))
    await to_the_end(event_canceller.sweep)
    await canceller.sweep()
    assert await statuses(database, tickets, event.event_id) == {"REFUNDED": 5}


async def test_an_outage_leaves_the_last_batch_to_the_ticket_sweeper(
    event_canceller, new_process, database, clock, scans
):
    event, _ = await sold(database, clock)
    await event_canceller.cancel(OLGA, event.event_id, "")
    other = new_process()
    scans.may_answer.clear()
    dying = asyncio.ensure_future(event_canceller.sweep())
    await scans.called.wait()
    await to_the_end(other.sweep)
    await scans.stop()
    assert await dying
    assert (await row(database, event_cancellations, event_id=event.event_id)).complete_time is not None
    assert await statuses(database, cancellations, event.event_id) == {"PENDING": 1}


@pytest.mark.usefixtures("batches_of_two")
async def test_several_processes_cancel_each_ticket_of_an_event_once(
    event_canceller, new_process, database, clock, scans
):
    event, _ = await sold(database, clock, 40)
    await event_canceller.cancel(OLGA, event.event_id, "")
    processes = [event_canceller, *(new_process() for _ in range(3))]
    await asyncio.gather(*(to_the_end(process.sweep) for process in processes))
    # A sweep that found the row locked has ended; the sweeper of a real process runs again.
    await to_the_end(event_canceller.sweep)
    assert await statuses(database, cancellations, event.event_id) == {"REFUNDING": 40}
    asked = Counter(revocation.ticket_id for call in scans.calls for revocation in call.revocations)
    assert set(asked.values()) == {1}
    stored = await row(database, events, event_id=event.event_id)
    assert (stored.reserved, stored.revision) == (0, 1 + 40 + 1 + 40)


async def test_a_check_in_reported_after_the_refund_is_a_conflict(event_canceller, database, clock):
    event, [ticket_id] = await sold(database, clock)
    await event_canceller.cancel(OLGA, event.event_id, "")
    await to_the_end(event_canceller.sweep)
    report = CheckIn(event.event_id, ticket_id, clock.now - timedelta(hours=1), 1)
    [conflict], _ = await check_ins.report(database, clock, [report])
    assert (conflict.check_in, conflict.status) == (report, "REFUNDED")
    assert (await row(database, tickets, ticket_id=ticket_id)).check_in_time is None


@pytest.mark.usefixtures("batches_of_two")
async def test_the_sales_show_the_progress(event_canceller, canceller, database, clock):
    event, [ticket_id, *_] = await sold(database, clock, 4)
    all_events = Events(database, CHANGE_RULES, {}, clock, lambda: None)
    await event_canceller.cancel(OLGA, event.event_id, "")
    await event_canceller.sweep()
    sales = await all_events.sales(OLGA, event.event_id)
    assert [(line.status, line.tickets, line.paid, line.refunded) for line in sales.lines] == [
        ("ACTIVE", 2, 5_000, 0),
        ("REFUNDED", 2, 5_000, 5_000),
    ]
    assert (sales.currency, sales.refunds_pending, sales.refunds_failed) == ("EUR", 2, 0)
    await to_the_end(event_canceller.sweep)
    one = (await row(database, cancellations, ticket_id=ticket_id)).cancellation_id
    await RefundConfirmations(database, clock).of_cancellation(OLGA, one, Confirmation("refund-1", by_hand=False))
    sales = await all_events.sales(OLGA, event.event_id)
    assert [(line.status, line.refunded) for line in sales.lines] == [("REFUNDED", 10_000)]
    assert sales.refunds_pending == 3
    with pytest.raises(Failure) as caught:
        await all_events.sales(OSCAR, event.event_id)
    assert caught.value.reason == "EVENT_NOT_FOUND"


@pytest.mark.timeout(600)
@pytest.mark.slow
async def test_the_next_process_continues_after_a_kill(database, tickets_url, scans, environment_of, issuer: Issuer):
    event, _ = await sold(database, system_clock, TICKETS)
    variables = environment_of(
        TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
        TICKETS_SWEEP_SECONDS="0.1",
    )
    scans.may_answer.clear()
    asked = event_service_pb2.CancelEventRequest(event_id=str(event.event_id), reason="storm")
    organizer = issuer.metadata("organizer", "olga")
    with await asyncio.to_thread(TicketProcess, variables) as killed:
        async with grpc.aio.insecure_channel(killed.address) as channel:
            answer = await event_service_pb2_grpc.EventServiceStub(channel).CancelEvent(asked, metadata=organizer)
        assert answer.gates_closed
        async with asyncio.timeout(20):
            await scans.called.wait()
        killed.end(signal.SIGKILL)
    scans.may_answer.set()
    # End the head start of the killed process.
    now = sa.update(cancellations).values(due_time=sa.func.now())
    await database.run(lambda connection: connection.execute(now))
    with await asyncio.to_thread(TicketProcess, variables) as next_one:
        async with grpc.aio.insecure_channel(next_one.address) as channel:
            stub = event_service_pb2_grpc.EventServiceStub(channel)
            request = event_service_pb2.GetEventSalesRequest(event_id=str(event.event_id))

            async def pending() -> int:
                return (await stub.GetEventSales(request, metadata=organizer)).refunds_pending

            await until(pending, TICKETS, seconds=500)
            sales = await stub.GetEventSales(request, metadata=organizer)
    [line] = sales.lines
    assert (line.ticket_type, line.tickets) == (event_pb2.TICKET_TYPE_STANDARD, TICKETS)
    assert (line.paid.minor_units, line.refunded.minor_units) == (2_500 * TICKETS, 2_500 * TICKETS)
    assert (await row(database, events, event_id=event.event_id)).reserved == 0
