"""A scan service is ready while somebody follows the feed, and while the ticket service is down."""

from pathlib import Path

import psycopg2
import pytest

from scan_service.app import App
from tests.environment.access import Issuer
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.scanning.gates import ScansDatabase, settings_of
from ticketing.chassis import leadership
from ticketing.chassis.tasks import BackgroundTask


@pytest.fixture
async def app(database: ScansDatabase, tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> App:
    """Make a service whose ticket service is down, and which is not ready one second after nobody leads."""
    monkeypatch.setattr(leadership, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(leadership, "POLL_SECONDS", 0.05)
    return App(settings_of(tmp_path, issuer), database.url)


async def task_of(app: App, name: str) -> BackgroundTask:
    [task] = await until(lambda: [task for task in app.tasks.running() if task.record.name == name])
    return task


async def test_a_service_stays_ready_while_the_ticket_service_is_down(app: App) -> None:
    async with running(app):
        replica = await task_of(app, "replica")
        # The outage lasts longer than the time after which nobody leads.
        await until(lambda: replica.record.silent_seconds() > 1.5)
        await until(lambda: app.health.report().is_ready)
        report = app.health.report()
        assert {"replica", "signing_keys"} <= report.warnings.keys()


async def test_a_service_is_not_ready_while_its_replica_is_broken_and_nobody_else_leads(app: App) -> None:
    async def fail() -> None:
        raise ValueError("a fault")

    async with running(app):
        replica = await task_of(app, "replica")
        follow, replica.step = replica.step, fail
        await until(lambda: list(app.health.report().not_ready), ["leadership"])
        replica.step = follow
        await until(lambda: app.health.report().is_ready)


async def test_a_service_is_ready_while_another_process_leads(app: App, database: ScansDatabase) -> None:
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    leader = psycopg2.connect(url)
    leader.autocommit = True
    polling = leader.cursor()
    polling.execute(f"SELECT pg_advisory_lock({leadership.LOCK})")
    async with running(app):
        leading = await task_of(app, "leadership")
        polls = 0

        def poll() -> bool:
            nonlocal polls
            polls += 1
            polling.execute("SELECT 1")
            # The watch lasts longer than the time after which nobody leads.
            return polls > 60

        await until(poll)
        await until(lambda: app.health.report().is_ready)
        assert leading.record.failures == 0
        assert "replica" not in {task.record.name for task in app.tasks.running()}
        leader.close()
        await task_of(app, "replica")
