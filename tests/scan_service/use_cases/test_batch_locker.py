"""Tests of the transaction of a batch, where another session inserts the same tickets."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from scan_service.store.admission import STATEMENTS
from scan_service.store.clock import DatabaseClock
from scan_service.store.free_rows import STATEMENTS as FREE_STATEMENTS
from scan_service.store.incidents import STATEMENTS as INCIDENT_STATEMENTS
from scan_service.use_cases import admission
from scan_service.use_cases.batch_locker import MAX_WAITS, BatchLocker
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.locked_events import LockedEvents
from tests.scanning.gates import CODES, ScansDatabase, ShownTicket
from ticketing.admission.scans import Attempt, Gate, Scan, ScanType
from ticketing.admission.tokens import read_token
from ticketing.chassis.clock import system_clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.loop_connection import LoopConnection


class CountingConnection(LoopConnection):
    """A connection that counts its inserts of tickets."""

    inserts = 0

    async def round_trip(self, statements: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.inserts += "EXECUTE create_tickets" in statements
        return await super().round_trip(statements, arguments)


@pytest.fixture
async def keys(database: ScansDatabase) -> AsyncIterator[Keys]:
    pool = Database(database.url, "keys", threads=1)
    made = Keys(pool, system_clock)
    await made.load()
    yield made
    await pool.close()


def attempt_of(shown: ShownTicket) -> Attempt:
    gate = Gate(shown.event_id, "North")
    return Attempt(uuid.uuid4(), gate, shown.token, read_token(shown.token), ScanType.CHECK_IN, "sam", None, {})


async def test_inserts_of_many_locked_tickets_cost_a_few_short_waits(database: ScansDatabase, keys: Keys) -> None:
    """A revocation of unknown tickets, for example, inserts them and has not committed yet."""
    x, y = database.event(), database.event()
    unknown = [database.unknown(x) for _ in range(3 * MAX_WAITS)]
    locked_events = LockedEvents("test")
    locked_events.note([x], [x])
    # A wait up to the limit of the session would last until the statement_timeout.
    limits = {"lock_timeout": 30_000}
    statements = {**STATEMENTS, **FREE_STATEMENTS, **INCIDENT_STATEMENTS}
    with closing(CountingConnection(database.url, "test", statements, limits)) as connection:
        locker = BatchLocker(connection, keys, CODES, DatabaseClock(), locked_events)
        attempts = [attempt_of(shown) for shown in [*unknown, database.ticket(y)]]
        with database.engine.begin() as other:
            for shown in unknown:
                other.exec_driver_sql(
                    "INSERT INTO tickets (event_id, ticket_id, known, status, issue, code_digest, generation, revision,"
                    " inside, sequence, reported_sequence) VALUES (%s, %s, false, 'ACTIVE', 1, %s, 0, 0, false, 0, 0)",
                    (shown.event_id, shown.ticket_id, CODES.digest(shown.code)),
                )
            *refused, free = await locker.transact(attempts, admission.decide_batch)
        assert [answer.reason for answer in refused if isinstance(answer, Failure)] == ["OVERLOADED"] * len(unknown)
        assert isinstance(free, Scan)
        # The first insert is that of the whole batch.
        assert connection.inserts == 1 + MAX_WAITS
        answers = await locker.transact(attempts, admission.decide_batch)
        assert {answer.verdict for answer in answers if isinstance(answer, Scan)} == {"ADMITTED"}
        assert len(answers) == len(attempts)
