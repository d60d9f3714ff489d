import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import OVERLOADED, Failure


class Recorder:
    """A process function that doubles numbers, records its batches, and answers while `gate` is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.gate.set()

    async def process(self, batch: Sequence[int]) -> list[int | Failure]:
        self.batches.append(list(batch))
        self.begun.set()
        await self.gate.wait()
        if 13 in batch:
            raise ValueError("poisoned")
        if 99 in batch:
            raise Failure("DEPENDENCY_UNAVAILABLE", "down")
        return [Failure("SOLD_OUT", "none left") if n == 7 else 2 * n for n in batch]


async def begin_batch(recorder: Recorder, batcher: Batcher[int, int]) -> asyncio.Task[int]:
    """Submit 1; its batch ends once the test sets the gate."""
    recorder.gate.clear()
    first = asyncio.create_task(batcher.submit(1))
    await recorder.begun.wait()
    return first


async def test_an_idle_batcher_answers_at_once() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100)
    assert await batcher.submit(1) == 2
    assert recorder.batches == [[1]]


async def test_requests_during_a_batch_form_the_next_one() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=3, max_waiting=100)
    first = await begin_batch(recorder, batcher)
    others = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4, 5)]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
    assert recorder.batches == [[1], [2, 3, 4], [5]]


async def test_a_following_batch_waits_for_callers_just_answered() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100, gather_seconds=0.001)
    recorder.gate.clear()

    async def ask_twice() -> list[int]:
        return [await batcher.submit(1), await batcher.submit(3)]

    twice = asyncio.create_task(ask_twice())
    await recorder.begun.wait()
    once = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    recorder.gate.set()
    assert list(await asyncio.gather(twice, once)) == [[2, 6], 4]
    assert recorder.batches == [[1], [2, 3]]


async def test_a_batch_is_bounded_by_weight_and_a_heavy_request_is_alone() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100, weigh=lambda n: n)
    first = await begin_batch(recorder, batcher)
    others = [asyncio.create_task(batcher.submit(n)) for n in (4, 6, 1, 50, 2)]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *others) == [2, 8, 12, 2, 100, 4]
    assert recorder.batches == [[1], [4, 6], [1], [50], [2]]


async def test_a_refusal_reaches_only_its_caller() -> None:
    batcher = Batcher("test", Recorder().process, max_batch=10, max_waiting=100)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (6, 7, 8)), return_exceptions=True)
    assert answers[0] == 12
    assert isinstance(answers[1], Failure)
    assert answers[2] == 16


async def test_a_faulty_request_fails_alone() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (12, 13, 14)), return_exceptions=True)
    assert (answers[0], answers[2]) == (24, 28)
    assert isinstance(answers[1], ValueError)
    assert recorder.batches == [[12, 13, 14], [12], [13], [14]]


async def test_an_outage_fails_the_whole_batch_at_once() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (1, 99)), return_exceptions=True)
    assert all(isinstance(answer, Failure) for answer in answers)
    assert len(recorder.batches) == 1


async def test_a_cancelled_caller_is_skipped_and_no_other_hangs() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100)
    first = await begin_batch(recorder, batcher)
    cancelled, other = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(0)
    cancelled.cancel()
    recorder.gate.set()
    assert await other == 6
    assert await first == 2
    assert recorder.batches == [[1], [3]]


async def test_a_batch_that_has_begun_completes_without_its_caller() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=10, max_waiting=100)
    caller = await begin_batch(recorder, batcher)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    recorder.gate.set()
    await batcher.close()
    assert await batcher.submit(5) == 10


async def test_requests_beyond_the_queue_are_refused_and_others_served() -> None:
    recorder = Recorder()
    batcher = Batcher("full", recorder.process, max_batch=1, max_waiting=2)
    first = await begin_batch(recorder, batcher)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Failure) as caught:
        await batcher.submit(4)
    assert caught.value.reason == OVERLOADED
    assert caught.value.retry_after is not None
    recorder.gate.set()
    assert await asyncio.gather(first, *waiting) == [2, 4, 6]
    assert REGISTRY.get_sample_value("batch_refused_total", {"batcher": "full"}) == 1


async def test_closing_processes_waiting_requests() -> None:
    recorder = Recorder()
    batcher = Batcher("test", recorder.process, max_batch=1, max_waiting=10)
    answers = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    await batcher.close()
    assert await asyncio.gather(*answers) == [2, 4, 6]
