"""One process leads, restarts failed tasks, and stops when another process has the lock."""

import asyncio
from collections.abc import AsyncIterator

import psycopg2
import pytest

from tests.environment.databases import read_value
from tests.environment.waiting import until
from ticketing.chassis import leadership
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.leadership import LOCK, repeat_with_backoff, run_as_leader
from ticketing.chassis.loop_connection import LoopConnection


class CountingTask:
    """A task that counts how often it began and ended."""

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


@pytest.fixture
async def task(scans_url, monkeypatch) -> AsyncIterator[CountingTask]:
    monkeypatch.setattr(leadership, "POLL_SECONDS", 0.05)
    made = CountingTask()
    connection = LoopConnection(scans_url, "lead", {})
    running = asyncio.create_task(run_as_leader(connection, [made]))
    yield made
    running.cancel()
    await asyncio.wait([running])
    connection.close()
    assert made.begun >= 1


async def test_a_leader_that_loses_the_lock_stops_until_it_is_free(scans_url, task):
    await until(lambda: task.begun)
    other = psycopg2.connect(scans_url.set(drivername="postgresql").render_as_string(hide_password=False))
    waiting = asyncio.create_task(asyncio.to_thread(other.cursor().execute, f"SELECT pg_advisory_lock({LOCK})"))
    await until(
        lambda: read_value(scans_url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    )
    read_value(scans_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lead'")
    await waiting
    await until(lambda: task.ended == 1)
    other.close()
    await until(lambda: task.begun == 2)


async def test_a_failed_task_starts_again(task, caplog):
    task.faults.append(ZeroDivisionError("a fault"))
    await until(lambda: task.begun == 2)
    assert "a fault" in caplog.text


async def test_a_task_is_retried_while_its_dependency_is_down(monkeypatch):
    monkeypatch.setattr(leadership, "MAX_BACKOFF_SECONDS", 0.01)
    task = CountingTask()
    task.faults.extend(dependency_unavailable("database") for _ in range(3))
    running = asyncio.create_task(repeat_with_backoff("test", task))
    await until(lambda: task.begun == 4)
    running.cancel()
    await asyncio.wait([running])
    assert task.ended == 1
