"""Tests of a service with several processes on one port."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from sqlalchemy.engine import URL

from tests.chassis.test_service import ended, metrics, run_sql, start, toy_url, variables, with_url
from tests.environment.waiting import eventually
from ticketing.chassis.probe import is_ready, is_serving
from ticketing.chassis.workers import supervisor
from ticketing.chassis.workers.port import ReservedPort
from ticketing.chassis.workers.program import MAX_MISSED_LOOKS, HangingWorkers
from ticketing.chassis.workers.supervisor import Worker, WorkerPlan

pytestmark = pytest.mark.slow
__all__ = ["toy_url", "variables"]


@dataclass
class Supervised:
    """A toy service with two workers."""

    process: subprocess.Popen[str]
    url: URL
    port: int
    metrics_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def starts(self) -> list[int]:
        """Return the process ids of the workers that have started so far."""
        return [int(str(row[0])) for row in run_sql(self.url, "SELECT * FROM starts")]

    def has_counted(self, sample: str) -> bool:
        return sample in metrics(self.metrics_port, None).splitlines()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=40)
        return self.process.returncode


@pytest.fixture
def start_workers(variables: dict[str, str], toy_url: URL) -> Iterator[Callable[[], Supervised]]:
    """Yield a function that starts a toy service with two workers and waits until both have started."""
    with ExitStack() as stack:

        def begin() -> Supervised:
            process = start({**with_url(variables, toy_url), "TOY_WORKERS": "2"})
            stack.callback(process.kill)
            assert process.stderr is not None
            ports = next(entry for line in process.stderr if (entry := json.loads(line))["message"] == "supervising")
            service = Supervised(process, toy_url, ports["port"], ports["metrics_port"])
            eventually(lambda: len(service.starts()) == 2)
            eventually(lambda: is_ready(service.address))
            return service

        yield begin


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def calls_of(count: int, address: str) -> None:
    """Make calls on a connection each, so that the kernel distributes them."""
    for _ in range(count):
        assert is_serving(address, seconds=10)


def test_two_workers_serve_one_port_and_their_metrics_are_added(start_workers: Callable[[], Supervised]) -> None:
    service = start_workers()
    assert len(set(service.starts())) == 2
    assert os.getpid() not in service.starts()
    calls_of(4, service.address)
    exposed = metrics(service.metrics_port, None)
    # Each worker counts its own tasks, and both have the same version.
    assert 'ticketing_build_info{version="' in exposed
    assert "ticketing_worker_restarts_total 0.0" in exposed
    described = [line for line in exposed.splitlines() if line.startswith("# TYPE ")]
    assert len(set(described)) == len(described)
    assert service.stop() == 0
    assert not is_serving(service.address, seconds=0.2)


def test_another_supervisor_cannot_share_the_port(start_workers: Callable[[], Supervised]) -> None:
    service = start_workers()
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{service.port}: .* Address already in use"):
        ReservedPort("127.0.0.1", service.port)
    assert service.stop() == 0
    ReservedPort("127.0.0.1", service.port).close()


def test_a_killed_worker_is_started_again_while_the_other_serves(start_workers: Callable[[], Supervised]) -> None:
    service = start_workers()
    os.kill(service.starts()[0], signal.SIGKILL)
    calls_of(4, service.address)
    eventually(lambda: len(service.starts()) == 3)
    eventually(lambda: service.has_counted("ticketing_worker_restarts_total 1.0"))
    assert service.stop(signal.SIGINT) == 0


def test_workers_end_with_a_killed_supervisor(start_workers: Callable[[], Supervised]) -> None:
    service = start_workers()
    service.stop(signal.SIGKILL)
    eventually(lambda: not is_serving(service.address, seconds=0.2))
    eventually(lambda: not any(map(is_running, service.starts())))


def test_workers_that_never_served_end_the_service(variables: dict[str, str], toy_url: URL) -> None:
    assert ended(with_url(variables, toy_url), "migrate")[0] == 0
    # The first statement of a worker fails.
    run_sql(toy_url, "DROP TABLE starts")
    process = start({**with_url(variables, toy_url), "TOY_WORKERS": "2"})
    process.communicate(timeout=40)
    assert process.returncode == 1


class HangingWorker(Worker):
    """A worker whose process is not real."""

    def __init__(self) -> None:
        super().__init__(WorkerPlan([], {}, 1, 0), 0)
        self.kills = 0

    @property
    def process_id(self) -> int:
        return 7

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.kills += 1


async def test_only_a_worker_that_hangs_several_times_in_a_row_is_killed() -> None:
    worker, hangs = HangingWorker(), True
    watch = HangingWorkers([worker], lambda: {7} if hangs else set())
    for _ in range(MAX_MISSED_LOOKS - 1):
        await watch.look()
    hangs = False
    await watch.look()
    hangs = True
    for _ in range(MAX_MISSED_LOOKS - 1):
        await watch.look()
    assert worker.kills == 0
    await watch.look()
    assert worker.kills == 1


class FailingWorker(Worker):
    """A worker that has served and then cannot be started again, as on a machine without memory."""

    def __init__(self, *, has_served: bool) -> None:
        super().__init__(WorkerPlan([], {}, 1, 0), 0)
        self._has_served = has_served
        self.starts = 0

    async def _run(self) -> int:
        self.starts += 1
        if self.starts == 3:
            self.stop()
            return 0
        raise OSError("no memory")


async def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_RESTART_SECONDS", 0)
    worker = FailingWorker(has_served=True)
    await worker.supervise()
    assert worker.starts == 3
    with pytest.raises(OSError, match="no memory"):
        await FailingWorker(has_served=False).supervise()
