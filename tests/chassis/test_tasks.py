"""A background task is repeated until it is stopped; its failures are counted, logged and tried again."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import pairwise
from time import monotonic, time

import pytest
from prometheus_client import REGISTRY

from tests.environment.waiting import until
from ticketing.chassis import tasks as module
from ticketing.chassis.failures import Failure, dependency_unavailable, overloaded
from ticketing.chassis.health import Health
from ticketing.chassis.tasks import START_SECONDS, Essential, TaskRecord, Tasks


class Work:
    """Work whose sweeps return or raise `answers` in order, then report that no work is left."""

    def __init__(self, *answers: bool | BaseException) -> None:
        self._answers: Iterator[bool | BaseException] = iter(answers)
        self.times: list[float] = []

    async def sweep(self) -> bool:
        self.times.append(monotonic())
        answer = next(self._answers, False)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def wait(self, sweeps: int) -> None:
        await until(lambda: len(self.times) >= sweeps)


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


def failures_of(name: str) -> float:
    return REGISTRY.get_sample_value("ticketing_task_failures_total", {"task": name}) or 0.0


def last_success_of(name: str) -> float | None:
    return REGISTRY.get_sample_value("ticketing_task_last_success_timestamp_seconds", {"task": name})


async def test_a_task_continues_at_once_while_work_is_left(tasks: Tasks) -> None:
    work = Work(True, True)  # noqa: FBT003 - results of sweeps
    task = tasks.sweep("work", work, interval_seconds=3_600)
    await work.wait(3)
    await task.stop()
    assert len(work.times) == 3


async def test_a_task_is_repeated_after_the_interval(tasks: Tasks) -> None:
    work = Work()
    task = tasks.sweep("work", work, interval_seconds=0.001)
    await work.wait(3)
    await task.stop()


async def test_a_woken_task_is_repeated_at_once(tasks: Tasks) -> None:
    work = Work()
    task = tasks.sweep("work", work, interval_seconds=3_600)
    await work.wait(1)
    task.wake()
    await work.wait(2)
    await task.stop()


@pytest.mark.parametrize(
    "error",
    [overloaded("database work"), Failure("X", "y"), RuntimeError("a fault"), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_task_continues_after_a_failure(tasks: Tasks, error: BaseException) -> None:
    before = failures_of("failing")
    work = Work(error)
    task = tasks.sweep("failing", work, interval_seconds=0.001)
    await work.wait(2)
    assert failures_of("failing") == before + 1
    await until(lambda: last_success_of("failing"))
    await task.stop()


async def test_a_cancelled_task_starts_again(tasks: Tasks) -> None:
    work = Work()
    task = tasks.sweep("cancelled", work, interval_seconds=3_600)
    await work.wait(1)
    [running] = [one for one in asyncio.all_tasks() if one.get_name() == "cancelled"]
    before = failures_of("cancelled")
    running.cancel()
    await work.wait(2)
    assert failures_of("cancelled") == before + 1
    await task.stop()
    assert not [one for one in asyncio.all_tasks() if one.get_name() == "cancelled"]


async def test_a_failing_task_does_not_spin_however_often_it_is_woken(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def back_off(attempt: int, **_: float) -> float:
        waits.append(attempt)
        return 0.01

    monkeypatch.setattr(module, "backoff_seconds", back_off)
    work = Work(*[RuntimeError("a fault")] * 5)
    task = tasks.sweep("work", work, interval_seconds=0)
    for _ in range(5):
        await work.wait(1)
        task.wake()
        await asyncio.sleep(0)
    await work.wait(6)
    await task.stop()
    assert waits == [0, 1, 2, 3, 4]
    assert all(after - before >= 0.01 for before, after in pairwise(work.times[:6]))


async def test_a_failure_is_logged_once_and_so_is_the_recovery(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    record = TaskRecord("work", None)
    for _ in range(100):
        record.failed(ValueError("a fault"))
    record.succeeded()
    record.succeeded()
    assert [one.message for one in caplog.records] == ["a background task fails", "a background task works again"]
    assert "ValueError: a fault" in caplog.text
    # A task that fails and works in turns fills no log either.
    for _ in range(100):
        record.failed(ValueError("a fault"))
        record.succeeded()
    assert len(caplog.records) == 2


async def test_a_long_failure_is_logged_again_and_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    record = TaskRecord("work", None)
    for _ in range(621):
        record.failed(dependency_unavailable("database"))
        now += 1
    assert len(caplog.records) == 11
    assert caplog.records[-1].__dict__["failures"] == 621


async def test_an_outage_of_another_service_at_the_start_is_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    waiting, broken, known = (TaskRecord(name, None) for name in ("waiting", "broken", "known"))
    known.succeeded()
    waiting.failed(dependency_unavailable("ticket service"))
    assert caplog.records == []
    broken.failed(ValueError("a bug"))
    known.failed(dependency_unavailable("ticket service"))
    now += START_SECONDS
    waiting.failed(dependency_unavailable("ticket service"))
    assert [record.__dict__["task"] for record in caplog.records] == ["broken", "known", "waiting"]


async def test_two_tasks_cannot_have_one_name(tasks: Tasks) -> None:
    task = tasks.sweep("work", Work(), interval_seconds=1)
    with pytest.raises(ValueError, match="runs already"):
        tasks.sweep("work", Work(), interval_seconds=1)
    await task.stop()


async def test_a_task_that_never_started_can_be_stopped(tasks: Tasks) -> None:
    await tasks.new("work", Work().sweep, 1).stop()


async def test_a_task_without_any_success_exports_the_time_of_its_start(tasks: Tasks) -> None:
    before = time()
    task = tasks.sweep("failing from the start", Work(*[ValueError("a fault")] * 1_000), interval_seconds=3_600)
    await until(lambda: failures_of("failing from the start") >= 1)
    assert before <= (last_success_of("failing from the start") or 0) <= time()
    await task.stop()


async def test_a_stopped_task_exports_no_success_and_starts_again(tasks: Tasks) -> None:
    work = Work()
    task = tasks.sweep("leading", work, interval_seconds=3_600)
    await work.wait(1)
    await tasks.stop()
    assert last_success_of("leading") is None
    task.start()
    await work.wait(2)
    await task.stop()


@pytest.mark.parametrize(
    ("essential", "error", "is_ready"),
    [
        (None, ValueError("a fault"), True),
        (Essential(0.0), ValueError("a fault"), False),
        (Essential(0.0), dependency_unavailable("database"), False),
        (Essential(60.0), ValueError("a fault"), True),
        (Essential(0.05, excuses_outages=True), dependency_unavailable("other service"), True),
        (Essential(0.0, excuses_outages=True), ValueError("a fault"), False),
    ],
)
async def test_an_essential_task_without_success_makes_the_process_not_ready(
    tasks: Tasks, essential: Essential | None, error: Exception, *, is_ready: bool
) -> None:
    async def step() -> None:
        raise error

    health = Health(tasks)
    health.begin()
    task = tasks.new("work", step, 0.01, essential, max_backoff_seconds=0.01)
    task.start()
    await until(lambda: task.record.failures >= 10)
    report = health.report()
    assert (report.is_ready, report.is_alive) == (is_ready, True)
    assert list(report.warnings if is_ready else report.not_ready) == ["work"]
    await task.stop()


async def test_a_hanging_essential_task_makes_the_process_not_ready(tasks: Tasks) -> None:
    health = Health(tasks)
    health.begin()
    task = tasks.new("work", asyncio.Event().wait, 0.01, Essential(0.05))
    task.start()
    assert health.report().is_ready
    await until(lambda: list(health.report().not_ready), ["work"])
    await task.stop()
    assert health.report().is_ready
