"""One process leads; another one takes over when the leader ends, hangs or does not do its required task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg2
import pytest
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL

from tests.environment.databases import read_value
from tests.environment.waiting import until
from ticketing.chassis import leadership
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.leadership import LOCK, Leadership
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.chassis.tasks import Tasks

WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "


class Process:
    """A process that takes part in the election; `step` is its required task."""

    def __init__(self, url: URL, name: str) -> None:
        self.tasks = Tasks()
        self.error: Exception | None = None
        self.hangs = False
        self.connection = LoopConnection(url, name, {})
        required = self.tasks.new("required", self.step, 0.01, max_backoff_seconds=0.01)
        self.leadership = Leadership(self.connection, self.tasks, required, [self.tasks.new("other", self.other, 0.01)])
        self.leadership.task.start()

    @property
    def leads(self) -> bool:
        return {"required", "other"} <= {task.record.name for task in self.tasks.running()}

    @property
    def is_ready(self) -> bool:
        return not self.leadership.task.record.is_overdue

    async def step(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    async def other(self) -> None:
        raise ZeroDivisionError("a fault of another task")

    async def stop(self) -> None:
        await self.leadership.task.stop()
        self.connection.close()


@pytest.fixture
async def process(scans_url: URL, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    monkeypatch.setattr(leadership, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "SILENT_SECONDS", 1.0)
    process = Process(scans_url, "lead")
    yield process
    await process.stop()
    assert not process.leads


@contextmanager
def session(url: URL) -> Any:
    other = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    yield other
    other.close()


async def test_a_leader_that_loses_the_lock_stops_until_it_is_free(scans_url: URL, process: Process) -> None:
    await until(lambda: process.leads)
    assert REGISTRY.get_sample_value("ticketing_leader") == 1
    with session(scans_url) as other:
        waiting = asyncio.create_task(asyncio.to_thread(other.cursor().execute, f"SELECT pg_advisory_lock({LOCK})"))
        await until(lambda: read_value(scans_url, WAITING))
        read_value(scans_url, f"{END}'lead'")
        await waiting
        await until(lambda: not process.leads)
        assert REGISTRY.get_sample_value("ticketing_leader") == 0
        await until(lambda: process.is_ready)
    await until(lambda: process.leads)


async def test_a_leader_that_hangs_loses_the_lock(
    scans_url: URL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leadership, "LEADER_SECONDS", 0.5)
    monkeypatch.setattr(leadership, "POLL_SECONDS", 0.05)
    with session(scans_url) as hanging:
        hanging.autocommit = True
        hanging.cursor().execute(f"SELECT pg_advisory_lock({LOCK})")
        process = Process(scans_url, "successor")
        await until(lambda: process.leads)
        assert process.is_ready
        with pytest.raises(psycopg2.OperationalError):
            hanging.cursor().execute("SELECT 1")
    assert "the leader hangs" in caplog.text
    await process.stop()


async def test_an_outage_elsewhere_leaves_the_leader_ready(process: Process) -> None:
    process.error = dependency_unavailable("ticket service")
    required = await until(lambda: [task for task in process.tasks.running() if task.record.name == "required"])
    # The outage lasts longer than the time after which a leader without reports is not ready.
    await until(lambda: required[0].record.silent_seconds() > 1.5)
    await until(lambda: process.is_ready)
    assert process.leads


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_leader_whose_required_task_is_broken_is_not_ready_and_resigns(
    scans_url: URL, process: Process, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    await until(lambda: process.leads)
    process.error, process.hangs = (ValueError("a fault"), False) if fault == "raises" else (None, True)
    await until(lambda: not process.is_ready)
    monkeypatch.setattr(leadership, "RESIGN_SECONDS", 0.5)
    successor = Process(scans_url, "successor")
    await until(lambda: successor.leads)
    await until(lambda: process.is_ready)
    assert not process.leads
    await successor.stop()


async def test_nobody_leads_while_the_only_process_has_resigned(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "RESIGN_SECONDS", 0.5)
    await until(lambda: process.leads)
    process.error = ValueError("a fault")
    await until(lambda: not process.leads)
    await until(lambda: not process.is_ready)
    process.error = None
    await until(lambda: process.leads and process.is_ready)


async def test_an_outage_of_the_database_is_no_fault_of_the_election(
    scans_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe of the database reports it; when the database answers again, each process has the time to lead."""
    monkeypatch.setattr(leadership, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "SILENT_SECONDS", 0.5)
    process = Process(scans_url.set(port=1), "lead")
    begin = monotonic()
    await until(lambda: monotonic() - begin > 1)
    assert process.leadership.task.record.failures
    await until(lambda: process.is_ready)
    await process.stop()
