"""Reads that arrive during a transaction share the next one; no caller gets what it may not see, or an older state."""

import asyncio
import threading
from collections.abc import Sequence
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.selling.rows import sold
from ticket_service.domain.calendar_entries import organizer_of
from ticket_service.store.tables import tickets
from ticket_service.store.tickets import find_tickets
from ticket_service.use_cases import batched_reads
from ticket_service.use_cases.batched_reads import BatchedReads
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis import database as chassis_database
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

SECONDS = 20


class Names:
    """The names of numbers; a transaction of `find` ends once `gate` is set."""

    def __init__(self) -> None:
        self.batches = list[list[int]]()
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def find(self, connection: Connection, numbers: Sequence[int]) -> dict[int, str]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.gate.wait(SECONDS)
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
        if 13 in numbers:
            raise ValueError("a damaged row")
        return {number: f"number {number}" for number in numbers if number < 100}


async def test_reads_during_a_transaction_share_the_next_one(database: Database) -> None:
    names = Names()
    reads = BatchedReads(database, "test", names.find)
    names.gate.clear()
    first = asyncio.create_task(reads.get(1))
    assert await asyncio.to_thread(names.begun.wait, SECONDS)
    others = [asyncio.create_task(reads.get(number)) for number in (2, 3, 2, 100)]
    await asyncio.sleep(0)
    names.gate.set()
    assert await asyncio.gather(first, *others) == ["number 1", "number 2", "number 3", "number 2", None]
    assert names.batches == [[1], [2, 3, 100]]


async def test_no_read_waits_for_more_than_one_batch_of_a_hanging_server(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names()
    reads = BatchedReads(database, "test", names.find)
    monkeypatch.setattr(chassis_database, "MAX_SECONDS", SECONDS)
    monkeypatch.setattr(batched_reads, "MAX_SECONDS", 0.2)
    names.gate.clear()
    first = asyncio.create_task(reads.get(1))
    assert await asyncio.to_thread(names.begun.wait, SECONDS)
    answers = await asyncio.gather(first, reads.get(2), reads.get(3), return_exceptions=True)
    names.gate.set()
    assert [getattr(answer, "reason", answer) for answer in answers] == ["DEPENDENCY_UNAVAILABLE"] * 3
    assert await reads.get(4) == "number 4"
    assert names.batches == [[1], [4]]


async def test_a_damaged_row_fails_alone(database: Database) -> None:
    reads = BatchedReads(database, "test", Names().find)
    first, damaged, other = await asyncio.gather(*map(reads.get, (1, 13, 2)), return_exceptions=True)
    assert (first, other) == ("number 1", "number 2")
    assert isinstance(damaged, ValueError)


async def test_a_read_sees_what_committed_before_it(database: Database, clock) -> None:
    """A shared transaction that began before the commit must not answer it."""
    _, [ticket_id] = await sold(database, clock)
    begun, gate = threading.Event(), threading.Event()

    def find(connection: Connection, keys: Sequence[UUID]) -> dict[UUID, str]:
        found = find_tickets(connection, keys)
        begun.set()
        assert gate.wait(SECONDS)
        return {sold.ticket.ticket_id: sold.ticket.user_id for sold in found.values()}

    reads = BatchedReads(database, "test", find)
    before = asyncio.create_task(reads.get(ticket_id))
    assert await asyncio.to_thread(begun.wait, SECONDS)
    transfer = sa.update(tickets).where(tickets.c.ticket_id == ticket_id).values(user_id="bob")
    await database.run(lambda connection: connection.execute(transfer))
    after = asyncio.create_task(reads.get(ticket_id))
    await asyncio.sleep(0)
    gate.set()
    assert (await before, await after) == ("alice", "bob")


async def test_callers_of_one_batch_see_their_own_tickets_alone(database: Database, clock) -> None:
    _, [of_alice] = await sold(database, clock)
    _, [of_bob] = await sold(database, clock, user_id="bob", organizer_id="oscar")
    reading = Tickets(database, organizer_of("tickets@example.com"), clock)
    callers = {
        Caller("alice", frozenset({Role.USER})): (True, False),
        Caller("bob", frozenset({Role.USER})): (False, True),
        Caller("olga", frozenset({Role.ORGANIZER})): (True, False),
        Caller("oscar", frozenset({Role.USER})): (False, False),
        Caller("shop", frozenset({Role.SERVICE})): (True, True),
        Caller("root", frozenset({Role.OPERATOR})): (True, True),
    }
    pairs = [(caller, ticket_id) for caller in callers for ticket_id in (of_alice, of_bob)]
    answers = await asyncio.gather(*(reading.get(*pair) for pair in pairs), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [not isinstance(answer, BaseException) for answer in answers] == [
        seen for both in callers.values() for seen in both
    ]
    assert {str(getattr(answer, "reason", answer)) for answer in refused} == {"TICKET_NOT_FOUND"}


async def test_an_unknown_ticket_is_not_found(database: Database, clock) -> None:
    reading = Tickets(database, organizer_of("tickets@example.com"), clock)
    with pytest.raises(Failure, match="no such ticket"):
        await reading.get(Caller("shop", frozenset({Role.SERVICE})), new_id())
