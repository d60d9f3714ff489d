import asyncio

import pytest

from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.shared_reads import SharedReads


class Source:
    """A source whose reads wait until the test lets them end."""

    def __init__(self) -> None:
        self.begun = list[str]()
        self.may_end = asyncio.Event()
        self.value = 0
        self.error: Failure | None = None

    async def read(self, key: str) -> int:
        self.begun.append(key)
        value = self.value
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def reads(source: Source) -> SharedReads[str, int]:
    return SharedReads("test", source.read)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_64_callers_at_once_share_one_read(source, reads):
    asked = [asyncio.create_task(reads.get("a")) for _ in range(64)]
    await turn()
    source.may_end.set()
    assert await asyncio.gather(*asked) == [0] * 64
    assert source.begun == ["a"]


async def test_a_caller_never_gets_a_read_that_began_before(source, reads):
    first = asyncio.create_task(reads.get("a"))
    await turn()
    source.value = 1
    later = [asyncio.create_task(reads.get("a")) for _ in range(10)]
    watcher = asyncio.create_task(reads.get("a", may_have_begun=True))
    await turn()
    assert source.begun == ["a"]
    source.may_end.set()
    assert [await first, await watcher, *await asyncio.gather(*later)] == [0, 0, *[1] * 10]
    assert source.begun == ["a", "a"]


async def test_other_keys_do_not_wait(source, reads):
    asked = [asyncio.create_task(reads.get(key)) for key in "abc"]
    await turn()
    assert source.begun == ["a", "b", "c"]
    source.may_end.set()
    await asyncio.gather(*asked)


async def test_a_cancelled_caller_leaves_the_read_to_the_others(source, reads):
    first, second = (asyncio.create_task(reads.get("a")) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    source.may_end.set()
    assert await second == 0


async def test_a_failed_read_fails_its_callers_and_no_later_one(source, reads):
    source.error = overloaded("reads")
    source.may_end.set()
    failed = await asyncio.gather(*(reads.get("a") for _ in range(2)), return_exceptions=True)
    assert failed == [source.error] * 2
    source.error = None
    assert await reads.get("a") == 0
