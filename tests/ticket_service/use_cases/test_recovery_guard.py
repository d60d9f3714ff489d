"""Changes are refused while a recovery is open, and where a process does not know."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from ticket_service.domain.recovery import Cause
from ticket_service.store import recoveries as store
from ticket_service.store.tables import told_incidents
from ticket_service.use_cases import recovery_guard
from ticket_service.use_cases.recovery_guard import RecoveryGuard
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id


def reason_of(guard: RecoveryGuard) -> str:
    failure = guard.refusal()
    return "" if failure is None else failure.reason


async def test_changes_follow_the_open_recovery(database, clock):
    guard = RecoveryGuard(database, clock)
    await guard.sweep()
    assert guard.refusal() is None
    recovery = await database.run(lambda c: store.begin(c, new_id(), Cause.OPERATOR, None, clock()))
    await guard.sweep()
    assert reason_of(guard) == "RECOVERING"
    await database.run(lambda c: store.end(c, recovery.recovery_id, clock()))
    await guard.sweep()
    assert guard.refusal() is None


async def test_a_state_that_is_not_known_refuses_changes(database, clock, monkeypatch):
    guard = RecoveryGuard(database, clock)
    assert reason_of(guard) == "DEPENDENCY_UNAVAILABLE"
    await guard.sweep()
    monkeypatch.setattr(recovery_guard, "VALID_SECONDS", -1)
    assert reason_of(guard) == "DEPENDENCY_UNAVAILABLE"


async def test_a_second_recovery_continues_the_open_one(database, clock):
    first = await database.run(lambda c: store.begin(c, new_id(), Cause.LOST_COMMITS, None, clock()))
    second = await database.run(lambda c: store.begin(c, new_id(), Cause.OPERATOR, clock(), clock()))
    assert (second.recovery_id, second.cause, second.since) == (first.recovery_id, Cause.LOST_COMMITS, clock())


async def test_a_transaction_of_a_refusing_pool_reads_and_changes_nothing(database, tickets_url: URL, clock):
    refused = Failure("RECOVERING", "the database is being recovered")
    guarded = Database(tickets_url, "test", threads=1, refusal=lambda: refused)
    row = {"event_id": new_id(), "incident_id": new_id(), "create_time": clock()}
    try:
        assert await guarded.run(lambda c: c.execute(sa.select(told_incidents)).all()) == []
        with pytest.raises(Failure) as raised:
            await guarded.run(lambda c: c.execute(sa.insert(told_incidents).values(row)))
    finally:
        await guarded.close()
    assert raised.value is refused
