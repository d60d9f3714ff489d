"""A check-in that is annulled after its event was cancelled makes the cancellation of its ticket."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.environment.clock import SettableClock
from tests.selling.callers import ALICE, OLGA
from tests.selling.rows import CHANGE_RULES, change, row, sold
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.check_ins import CheckIn, CheckInConflict
from ticket_service.store.tables import cancellations, event_cancellations, events, tickets
from ticket_service.use_cases import check_ins, event_cancellation
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticketing.chassis.connections import connect
from ticketing.chassis.database import Database, RowsLocked


@dataclass(frozen=True)
class Night:
    """An event whose tickets are checked in, cancelled and reported."""

    database: Database
    clock: SettableClock
    event_id: UUID
    ticket_ids: Sequence[UUID]
    cancellations: Cancellations
    event_cancellations: EventCancellations

    async def cancel(self, reason: str = "storm") -> None:
        """Cancel the event, and then its tickets in batches."""
        await self.event_cancellations.cancel(OLGA, self.event_id, reason)
        while await self.event_cancellations.sweep():
            pass

    async def report(self, ticket_id: UUID, sequence: int, *, stands: bool) -> list[CheckInConflict]:
        """Report whether the check-in of a ticket stands."""
        time = self.clock.now if stands else None
        reports = [CheckIn(self.event_id, ticket_id, time, sequence)]
        conflicts, _ = await check_ins.report(self.database, self.clock, reports)
        return conflicts

    async def sweep(self) -> None:
        """Run the sweepers a minute later."""
        self.clock.advance(timedelta(minutes=1))
        while await self.event_cancellations.sweep() or await self.cancellations.sweep():
            pass

    async def made(self, ticket_id: UUID) -> Counter[Any]:
        """Count the cancellations of a ticket by status, amount and reason."""
        columns = (cancellations.c.status, cancellations.c.refund_amount, cancellations.c.reason)
        query = sa.select(*columns).where(cancellations.c.ticket_id == ticket_id)
        return Counter([tuple(found) for found in await self.database.run(lambda c: c.execute(query).all())])


PENDING, REFUNDING, REJECTED = ((status, 2_500, "storm") for status in ("PENDING", "REFUNDING", "REJECTED"))


@pytest.fixture
async def impatient(tickets_url: URL) -> AsyncIterator[Database]:
    """Return a pool that waits for locked rows for a short time."""
    pool = Database(tickets_url, "tests", 1, {"lock_timeout": 50})
    yield pool
    await pool.close()


def night_of(
    database: Database, remote: ScanServiceClient, clock: SettableClock, event_id: UUID, ticket_ids: Sequence[UUID]
) -> Night:
    canceller = Cancellations(database, remote, clock, lambda: None)
    event_canceller = EventCancellations(database, remote, canceller, CHANGE_RULES, clock)
    return Night(database, clock, event_id, ticket_ids, canceller, event_canceller)


@pytest.fixture
async def night(database: Database, remote: ScanServiceClient, clock: SettableClock) -> Night:
    event, ticket_ids = await sold(database, clock, 2, starts_in=timedelta(hours=1))
    return night_of(database, remote, clock, event.event_id, ticket_ids)


@pytest.fixture
async def big_night(
    database: Database, remote: ScanServiceClient, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> Night:
    monkeypatch.setattr(event_cancellation, "BATCH_TICKETS", 3)
    event, ticket_ids = await sold(database, clock, 24)
    return night_of(database, remote, clock, event.event_id, ticket_ids)


async def test_an_annulled_check_in_is_refunded_in_full_once(night):
    ticket_id, _ = night.ticket_ids
    await night.report(ticket_id, 1, stands=True)
    await night.cancel()
    assert await night.made(ticket_id) == {}
    for _ in range(2):
        assert await night.report(ticket_id, 2, stands=False) == []
    assert await night.made(ticket_id) == {PENDING: 1}
    await night.sweep()
    await night.report(ticket_id, 2, stands=False)
    assert await night.made(ticket_id) == {REFUNDING: 1}
    assert (await row(night.database, tickets, ticket_id=ticket_id)).status == "REFUNDED"
    assert (await row(night.database, events, event_id=night.event_id)).reserved == 0


async def test_an_annulment_clears_the_check_in_of_a_ticket_cancelled_meanwhile(night, scans):
    ticket_id, _ = night.ticket_ids
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await night.cancellations.cancel(OLGA, ticket_id, "ill")
    # A gate admits the ticket and annuls the scan; the cancellation then wins, and the report of the annulment comes last.
    await night.report(ticket_id, 1, stands=True)
    scans.fails_with = None
    await night.sweep()
    assert await night.report(ticket_id, 2, stands=False) == []
    stored = await row(night.database, tickets, ticket_id=ticket_id)
    assert (stored.status, stored.check_in_time, stored.check_in_sequence) == ("CANCELLED", None, 2)


async def test_a_cancellation_clears_a_check_in_that_overtook_the_revocation(night, scans):
    ticket_id, _ = night.ticket_ids
    scans.may_answer.clear()
    cancelled = asyncio.ensure_future(night.cancellations.cancel(OLGA, ticket_id, "ill"))
    await scans.called.wait()
    # The scan service has revoked the ticket. A gate uploads an earlier admission, which is an incident there. The report
    # arrives before the answer about the revocation, and again after it.
    assert await night.report(ticket_id, 1, stands=True) == []
    scans.may_answer.set()
    await cancelled
    [conflict] = await night.report(ticket_id, 1, stands=True)
    stored = await row(night.database, tickets, ticket_id=ticket_id)
    assert (conflict.status, stored.status, stored.check_in_time) == ("CANCELLED", "CANCELLED", None)


async def test_an_annulment_is_refunded_when_its_check_in_was_never_reported(night, scans):
    ticket_id, _ = night.ticket_ids
    scans.admitted[str(ticket_id)] = night.clock.now
    await night.cancel()
    assert await night.made(ticket_id) == {REJECTED: 1}
    del scans.admitted[str(ticket_id)]
    await night.report(ticket_id, 2, stands=False)
    await night.sweep()
    assert await night.made(ticket_id) == {REJECTED: 1, REFUNDING: 1}


async def test_an_annulment_reported_before_the_outcome_is_stored_is_refunded(night, scans):
    ticket_id, _ = night.ticket_ids
    scans.admitted[str(ticket_id)] = night.clock.now
    scans.may_answer.clear()
    cancelled = asyncio.ensure_future(night.cancel())
    await scans.called.wait()
    # The scan service has decided that a gate was first. Then the check-in is annulled, and the report overtakes.
    del scans.admitted[str(ticket_id)]
    await night.report(ticket_id, 2, stands=False)
    scans.may_answer.set()
    await cancelled
    assert await night.made(ticket_id) == {REJECTED: 1, PENDING: 1}
    await night.sweep()
    assert await night.made(ticket_id) == {REJECTED: 1, REFUNDING: 1}


async def test_a_ticket_that_is_checked_in_again_is_not_refunded(night, scans):
    ticket_id, _ = night.ticket_ids
    await night.report(ticket_id, 1, stands=True)
    await night.cancel()
    scans.admitted[str(ticket_id)] = night.clock.now
    await night.report(ticket_id, 2, stands=False)
    await night.report(ticket_id, 3, stands=True)
    await night.sweep()
    assert await night.made(ticket_id) == {REJECTED: 1}
    assert (await row(night.database, tickets, ticket_id=ticket_id)).status == "ACTIVE"


async def test_an_annulment_without_a_cancelled_event_cancels_nothing(night, scans):
    ticket_id, other = night.ticket_ids
    await night.report(ticket_id, 1, stands=True)
    await night.report(ticket_id, 2, stands=False)
    assert await night.made(ticket_id) == {}
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await night.cancellations.cancel(ALICE, other, "ill")
    scans.fails_with = None
    scans.admitted[str(other)] = night.clock.now
    await night.report(other, 2, stands=False)
    await night.sweep()
    [(status, _, reason)] = await night.made(other)
    assert (status, reason) == ("REJECTED", "ill"), "the holder may cancel again"


async def test_a_locked_cancellation_delays_annulments_alone(night, scans, impatient, tickets_url: URL):
    ticket_id, other = night.ticket_ids
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await night.cancellations.cancel(ALICE, ticket_id, "ill")
    annulled, standing = CheckIn(night.event_id, ticket_id, None, 2), CheckIn(night.event_id, other, night.clock.now, 1)
    with closing(connect(tickets_url, "tests")) as stranger:
        stranger.cursor().execute("SELECT FROM cancellations FOR UPDATE")
        _, locked = await check_ins.report(impatient, night.clock, [annulled, standing], skip_locked=True)
        assert locked == {(night.event_id, ticket_id)}
        with pytest.raises(RowsLocked):
            await check_ins.report(impatient, night.clock, [annulled, standing])
    assert (await row(night.database, tickets, ticket_id=other)).check_in_time == night.clock.now
    assert (await row(night.database, tickets, ticket_id=ticket_id)).check_in_sequence == 0
    assert await check_ins.report(impatient, night.clock, [annulled], skip_locked=True) == ([], frozenset())
    assert (await row(night.database, cancellations, ticket_id=ticket_id)).check_in_annulled


async def test_an_outage_leaves_the_annulled_ticket_to_the_sweeper(night, scans):
    ticket_id, _ = night.ticket_ids
    await night.report(ticket_id, 1, stands=True)
    await night.cancel()
    await night.report(ticket_id, 2, stands=False)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    await night.sweep()
    assert await night.made(ticket_id) == {PENDING: 1}
    scans.fails_with = None
    await night.sweep()
    assert await night.made(ticket_id) == {REFUNDING: 1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_annulments_during_the_cancellation_are_all_refunded(big_night, scans, seed):
    night, chance = big_night, random.Random(seed)
    ticket_ids = night.ticket_ids
    inside = chance.sample(ticket_ids, 18)
    annulled = inside[:12]
    for ticket_id in inside:
        scans.admitted[str(ticket_id)] = night.clock.now
        if chance.random() < 0.5:
            await night.report(ticket_id, 1, stands=True)

    async def annul() -> None:
        # Half of the annulments overtake the answer about the first batch.
        await scans.called.wait()
        for number, ticket_id in enumerate(sorted(annulled)):
            if number == len(annulled) // 2:
                scans.may_answer.set()
            del scans.admitted[str(ticket_id)]
            await night.report(ticket_id, 2, stands=False)

    scans.may_answer.clear()
    await asyncio.gather(night.cancel(), annul(), night.sweep(), night.sweep())
    for _ in range(3):
        await night.sweep()
    query = sa.select(tickets.c.ticket_id).where(tickets.c.status == "ACTIVE")
    assert set(await night.database.run(lambda c: c.execute(query).scalars().all())) == set(inside) - set(annulled)
    for ticket_id in set(ticket_ids) - set(inside) | set(annulled):
        assert (await night.made(ticket_id))[REFUNDING] == 1


async def test_a_repeated_event_cancellation_refunds_what_an_older_version_left(night):
    left_out, inside = night.ticket_ids
    for ticket_id in night.ticket_ids:
        await night.report(ticket_id, 1, stands=True)
    await night.cancel()
    # An older version stored the annulment and made no cancellation.
    await change(night.database, left_out, check_in_time=None, check_in_sequence=2)
    for _ in range(2):
        await night.cancel("again")
    assert await night.made(left_out) == {REFUNDING: 1}
    assert await night.made(inside) == {}
    stored = await row(night.database, event_cancellations, event_id=night.event_id)
    assert stored.complete_time == night.clock.now
