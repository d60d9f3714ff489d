import asyncio
from collections.abc import Iterator

import pytest

from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.sweeper import Sweeper


class Work:
    """Work whose sweeps return or raise `answers` in order, then report that no work is left."""

    def __init__(self, *answers: bool | Exception) -> None:
        self._answers: Iterator[bool | Exception] = iter(answers)
        self.sweeps = 0
        self.swept = asyncio.Event()

    async def sweep(self) -> bool:
        self.sweeps += 1
        self.swept.set()
        answer = next(self._answers, False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait(self, sweeps: int) -> None:
        async with asyncio.timeout(20):
            while self.sweeps < sweeps:
                self.swept.clear()
                await self.swept.wait()


async def test_a_sweeper_continues_at_once_while_work_is_left():
    work = Work(True, True)  # noqa: FBT003 - results of sweeps
    sweeper = Sweeper(work, interval_seconds=3_600)
    sweeper.start()
    await work.wait(3)
    await sweeper.stop()
    assert work.sweeps == 3


async def test_a_sweeper_sweeps_again_after_the_interval():
    work = Work()
    sweeper = Sweeper(work, interval_seconds=0.001)
    sweeper.start()
    await work.wait(3)
    await sweeper.stop()


async def test_a_woken_sweeper_sweeps_at_once():
    work = Work()
    sweeper = Sweeper(work, interval_seconds=3_600)
    sweeper.start()
    await work.wait(1)
    sweeper.wake()
    await work.wait(2)
    await sweeper.stop()


@pytest.mark.parametrize("error", [overloaded("database work"), Failure("X", "y"), RuntimeError("a fault")])
async def test_sweeping_continues_after_a_failed_sweep(error):
    work = Work(error)
    sweeper = Sweeper(work, interval_seconds=0.001)
    sweeper.start()
    await work.wait(2)
    await sweeper.stop()


async def test_a_sweeper_that_never_started_can_be_stopped():
    await Sweeper(Work(), interval_seconds=1).stop()
