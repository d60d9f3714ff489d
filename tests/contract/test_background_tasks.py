"""No work runs in the background unwatched: a task of both programs that fails is counted, logged and tried again."""

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.engine import URL

from scan_service.app import App as ScanApp
from scan_service.settings import read_settings as read_scan_settings
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from tests.environment.serving import running
from tests.environment.waiting import until
from tests.stand_ins.webhook import SECRET
from ticket_service.app import App as TicketApp
from ticket_service.delivery.app import DeliveryApp
from ticket_service.settings import read_settings as read_ticket_settings
from ticketing.chassis import tasks as chassis_tasks
from ticketing.chassis.health import Health
from ticketing.chassis.service import process_tasks
from ticketing.chassis.settings import Environment
from ticketing.chassis.tasks import BackgroundTask, Tasks

# Each of these modules starts work otherwise than as a background task, for the reason.
WATCHED_OTHERWISE = {
    "scan_service/adapters/tickets.py": "the stream that begins the read waits for its result",
    "scan_service/gate_stream/stream.py": "the stream ends with the error of its reader, and waits for its annulments",
    "scan_service/gate_stream/upload_lane.py": "its error ends the stream",
    "scan_service/replication/replica.py": "the replica ends with the error of its reader",
    "scan_service/use_cases/admission_watcher.py": "the watchers that share the read wait for it",
    "ticketing/chassis/shared_reads.py": "the callers that share the read wait for it",
    "ticket_service/adapters/drawers.py": "callers wait for its results, and each error reaches its caller",
    "ticket_service/adapters/drawing_worker.py": "the thread ends the process of which it is a part",
    "ticket_service/adapters/webhook_listener.py": "the background task waits for the thread and its tasks",
    "ticket_service/delivery/receiver_worker.py": "each delivery records its error; one without a record is repeated",
    "ticketing/chassis/batcher.py": "callers wait for its results, and each error reaches its caller",
    "ticketing/chassis/endpoints.py": "a supervisor that gets no answer restarts the process",
    "ticketing/chassis/jwks.py": "the callers and the background task that share the read wait for it",
    "ticketing/chassis/postgres/lease.py": "the keeper of the embedded PostgreSQL, for development",
    "ticketing/chassis/tasks.py": "the background tasks themselves",
    "ticketing/chassis/tracing.py": "the stop waits a bounded time for the thread that exports the last spans",
    "ticketing/chassis/workers/supervisor.py": "the supervisor waits for its workers and for the stop",
    "ticketing/gate/look_ups.py": "it makes one call and shows its result, whatever it is",
    "ticketing/gate/retrying.py": "the thread that retries, which the screen of the device watches",
    "ticketing/gate/stream_channel.py": "the connection that starts it waits for it, or it makes one call",
}
STARTS = re.compile(r"\b(create_task|ensure_future|Thread|Timer|run_coroutine_threadsafe)\(")
# The name of a task in docs/running.md, for that of a running task.
PLACEHOLDERS = {r"\.stripe$": ".PROVIDER", r"^delivery\..*": "delivery.RECEIVER"}

NewProgram = Callable[[], object]


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def variables(issuer: Issuer, tmp_path: Path) -> dict[str, str]:
    """Return settings with which both programs start every task that they have. Nothing listens at the addresses."""
    folder = Folder(tmp_path)
    identity = folder.identity("127.0.0.1")
    return {
        **issuer.variables(tmp_path),
        "TICKETING_TLS_CERTIFICATE": str(identity.certificate),
        "TICKETING_TLS_KEY": str(identity.key),
        **dict.fromkeys(["TICKETS_PORT", "TICKETS_METRICS_PORT", "SCANS_PORT", "SCANS_METRICS_PORT"], "0"),
        "TICKETS_SCANS_ADDRESS": "127.0.0.1:1",
        "SCANS_TICKETS_ADDRESS": "127.0.0.1:1",
        "TICKETS_STRIPE_KEY": "sk_test_1",
        "TICKETS_STRIPE_API_BASE": "http://127.0.0.1:1",
        "TICKETS_STRIPE_WEBHOOK_SECRETS": "whsec_1",
        "TICKETS_PROVIDER_WEBHOOK_PORT": "0",
        "TICKETS_WEBHOOK_URL": "http://127.0.0.1:1",
        "TICKETS_WEBHOOK_SECRET": SECRET,
        "TICKETS_SMTP_URL": "smtp://127.0.0.1:1",
        "TICKETS_MAIL_FROM": "tickets@example.com",
        "TICKETS_NATS_URL": "nats://127.0.0.1:1",
    }


@asynccontextmanager
async def tasks_of(
    program: str, variables: Mapping[str, str], urls: Mapping[str, URL]
) -> AsyncIterator[tuple[Tasks, Health]]:
    """Run a program in this process; yield its tasks and health."""
    environment = Environment(variables)
    settings = read_scan_settings(environment) if program == "scans" else read_ticket_settings(environment)
    environment.check()
    url = urls["scans" if program == "scans" else "tickets"]
    app: TicketApp | ScanApp | DeliveryApp
    if program == "scans":
        app = ScanApp(settings, url)  # type: ignore[arg-type]  # the settings of the program
    elif program == "tickets":
        app = TicketApp(settings, url)  # type: ignore[arg-type]  # as above
    else:
        app = DeliveryApp(settings.delivery, url)  # type: ignore[union-attr]  # as above
    tasks = app.health.tasks
    async with process_tasks(tasks, settings.service, url, program), running(app):
        app.health.begin()
        if program == "scans":
            await until(lambda: "replica" in names_of(tasks))
        yield tasks, app.health


def names_of(tasks: Tasks) -> set[str]:
    return {task.record.name for task in tasks.running()}


def failures_of(name: str) -> float:
    return REGISTRY.get_sample_value("ticketing_task_failures_total", {"task": name}) or 0.0


async def break_all(broken: Sequence[BackgroundTask], caplog: pytest.LogCaptureFixture) -> None:
    """Let tasks fail at every turn; check that each is tried again, counted and logged once."""
    before = {task.record.name: failures_of(task.record.name) for task in broken}

    async def fail() -> None:
        raise ArithmeticError("made by the test")

    for task in broken:
        task.record.failures = 0
        task.step = fail
        if task.record.essential is not None:
            task.record.essential = replace(task.record.essential, seconds=0)
        # The present step may last for ever.
        assert task._task is not None  # noqa: SLF001 - nothing else ends a step
        task._task.cancel()  # noqa: SLF001 - as above
    await until(lambda: all(failures_of(name) >= count + 3 for name, count in before.items()))
    logged = [line.__dict__["task"] for line in caplog.records if line.message == "a background task fails"]
    assert {name for name in before if logged.count(name) != 1} == set()


async def check_program(
    program: str, variables: Mapping[str, str], urls: Mapping[str, URL], caplog: pytest.LogCaptureFixture
) -> set[str]:
    async with tasks_of(program, variables, urls) as (tasks, health):
        names = names_of(tasks)
        # The start may have kept the loop busy for longer than the probe may be silent.
        await until(lambda: health.report().is_ready)
        works = {task.record.name: task.step for task in tasks.running()}
        last = [task for task in tasks.running() if task.record.name == "leadership"]
        for broken in ([task for task in tasks.running() if task not in last], last):
            caplog.clear()
            await break_all(broken, caplog)
        report = health.report()
        running_tasks = tasks.running()
        essential = {task.record.name for task in running_tasks if task.record.essential is not None}
        assert set(report.not_ready) == essential
        assert set(report.warnings) == names_of(tasks) - essential
        assert report.is_alive
        for task in running_tasks:
            task.step = works[task.record.name]
            if task.record.essential is not None:
                task.record.essential = replace(task.record.essential, seconds=60)
        await until(lambda: health.report().is_ready)
    return names


def documented() -> dict[str, bool]:
    """Return the tasks in docs/running.md, and whether each is essential."""
    text = (ROOT / "docs" / "running.md").read_text()
    [table] = re.findall(r"^\| task \| where .*?\n\n", text, re.MULTILINE | re.DOTALL)
    found: dict[str, bool] = {}
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        found |= {name: not cells[3].startswith(("no", "by")) for name in re.findall(r"`([^`]+)`", cells[0])}
    return found


async def test_every_task_that_fails_is_counted_logged_and_tried_again(
    variables: dict[str, str],
    tickets_url: URL,
    scans_url: URL,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list comes from the running programs, so it contains tasks of which no test knows."""
    monkeypatch.setattr(chassis_tasks, "backoff_seconds", lambda *_, **__: 0.02)
    monkeypatch.setattr(chassis_tasks, "FLAPPING_LOG_SECONDS", 0.0)
    caplog.set_level(logging.INFO, chassis_tasks.__name__)
    urls = {"tickets": tickets_url, "scans": scans_url}
    found = set[str]()
    for program in ("tickets", "scans", "relay"):
        found |= await check_program(program, variables, urls, caplog)
    async with tasks_of("relay", {**variables, **dict.fromkeys(RECEIVERS, "")}, urls) as (tasks, _):
        found |= names_of(tasks)
    for pattern, placeholder in PLACEHOLDERS.items():
        found = {re.sub(pattern, placeholder, name) for name in found}
    assert found == set(documented())


RECEIVERS = ("TICKETS_WEBHOOK_URL", "TICKETS_WEBHOOK_SECRET", "TICKETS_SMTP_URL", "TICKETS_NATS_URL")


def test_nothing_else_starts_work_that_nobody_awaits() -> None:
    packages = ("scan_service", "ticket_service", "ticketing")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    starting = {str(path.relative_to(ROOT)) for path in sources if STARTS.search(path.read_text())}
    assert starting == set(WATCHED_OTHERWISE)
