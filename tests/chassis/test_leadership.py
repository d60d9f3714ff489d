"""One process leads; it goes on after a fault, and stops when another has the lock."""

import asyncio
from collections.abc import AsyncIterator

import psycopg2
import pytest

from tests.environment.databases import connected
from tests.environment.waiting import until
from ticketing.chassis import leadership
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.leadership import LOCK, keep_on, lead
from ticketing.chassis.loop_connection import LoopConnection


class Duty:
    """Counts how often it was begun and given up."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.faults: list[Exception] = []

    async def __call__(self) -> None:
        self.begun += 1
        if self.faults:
            raise self.faults.pop()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


def value(url, statement):
    with connected(url) as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


@pytest.fixture
async def duty(scans_url, monkeypatch) -> AsyncIterator[Duty]:
    monkeypatch.setattr(leadership, "LOOK_SECONDS", 0.05)
    made = Duty()
    connection = LoopConnection(scans_url, "lead", {})
    task = asyncio.create_task(lead(connection, [made]))
    yield made
    task.cancel()
    await asyncio.wait([task])
    connection.close()
    assert made.begun >= 1


async def test_who_loses_the_lock_stops_and_begins_again_once_it_is_free(scans_url, duty):
    await until(lambda: duty.begun)
    other = psycopg2.connect(scans_url.set(drivername="postgresql").render_as_string(hide_password=False))
    waiting = asyncio.create_task(asyncio.to_thread(other.cursor().execute, f"SELECT pg_advisory_lock({LOCK})"))
    await until(lambda: value(scans_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
    value(scans_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lead'")
    await waiting
    await until(lambda: duty.ended == 1)
    other.close()
    await until(lambda: duty.begun == 2)


async def test_a_duty_that_fails_by_a_fault_of_ours_begins_again(duty, caplog):
    duty.faults.append(ZeroDivisionError("a fault of ours"))
    await until(lambda: duty.begun == 2)
    assert "a fault of ours" in caplog.text


async def test_a_duty_waits_while_what_it_needs_is_away(monkeypatch):
    monkeypatch.setattr(leadership, "LONGEST_SECONDS", 0.01)
    duty = Duty()
    duty.faults.extend(dependency_unavailable("database") for _ in range(3))
    task = asyncio.create_task(keep_on("test", duty))
    await until(lambda: duty.begun == 4)
    task.cancel()
    await asyncio.wait([task])
    assert duty.ended == 1
