import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from ticketing.chassis.failures import OVERLOADED, Failure
from ticketing.chassis.keyed_batchers import KeyedBatchers


class Recorder:
    """A process function that doubles numbers and records its batches; those of the key "slow" wait for `gate`."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate = asyncio.Event()

    async def process(self, key: str, batch: Sequence[int]) -> list[int | Failure]:
        self.batches.append((key, list(batch)))
        if key == "slow":
            await self.gate.wait()
        return [2 * number for number in batch]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def batchers(recorder: Recorder) -> KeyedBatchers[str, int, int]:
    return KeyedBatchers("test keys", recorder.process, max_batch=2, max_under_way=4)


def waiting() -> float | None:
    return REGISTRY.get_sample_value("batch_waiting", {"batcher": "test keys"})


async def submit(batchers: KeyedBatchers[str, int, int], key: str, *numbers: int) -> list[asyncio.Task[int]]:
    """Submit numbers of a key; return when their batches have begun or wait."""
    tasks = [asyncio.create_task(batchers.submit(key, number)) for number in numbers]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_requests_of_one_key_share_batches(recorder, batchers):
    assert await asyncio.gather(*await submit(batchers, "a", 1, 2, 3)) == [2, 4, 6]
    assert recorder.batches == [("a", [1, 2]), ("a", [3])]


async def test_a_slow_key_delays_no_other(recorder, batchers):
    slow = await submit(batchers, "slow", 1)
    assert await batchers.submit("a", 2) == 4
    assert not slow[0].done()
    recorder.gate.set()
    assert await slow[0] == 2


async def test_the_requests_of_all_keys_are_bounded_and_counted(recorder, batchers):
    slow = await submit(batchers, "slow", 1, 2, 3, 4)
    assert waiting() == 2
    with pytest.raises(Failure, match="too much at once") as refused:
        await batchers.submit("a", 5)
    assert refused.value.reason == OVERLOADED
    recorder.gate.set()
    assert await asyncio.gather(*slow) == [2, 4, 6, 8]
    assert (await batchers.submit("a", 5), waiting()) == (10, 0)


async def test_a_request_that_gives_up_makes_room(recorder, batchers):
    for task in (slow := await submit(batchers, "slow", 1, 2, 3, 4)):
        task.cancel()
    await asyncio.wait(slow)
    assert await batchers.submit("a", 5) == 10
    recorder.gate.set()
    assert await batchers.submit("slow", 6) == 12
    assert recorder.batches == [("slow", [1, 2]), ("a", [5]), ("slow", [6])]
