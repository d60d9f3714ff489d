"""Tests of the scan lane: one device takes few places in a batch, however much it sends."""

import asyncio
from typing import Any

import pytest

from scan_service.gate_stream.scan_lane import MAX_AT_ONCE, ScanLane
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import Failure


class Decisions:
    """A batcher that waits for `may`, then answers each scan with itself, and records its batches."""

    def __init__(self, max_waiting: int = 1_000) -> None:
        self.batches: list[list[object]] = []
        self.may = asyncio.Event()
        self.batcher = Batcher("lane", self._decide, max_batch=256, max_waiting=max_waiting)

    def lane(self) -> Any:
        """Make a lane; numbers and texts stand for scans."""
        return ScanLane(self.batcher, lambda: None)

    async def _decide(self, scans):
        self.batches.append(list(scans))
        await self.may.wait()
        return [Failure("BAD", "bad") if scan == "bad" else scan for scan in scans]


async def test_a_flood_takes_few_places_in_a_batch():
    decisions = Decisions()
    flooding, other = decisions.lane(), decisions.lane()
    answers = [flooding.submit(number) for number in range(50)]
    answers.append(other.submit("other"))
    decisions.may.set()
    assert await asyncio.gather(*answers) == [*range(50), "other"]
    assert decisions.batches[0] == [*range(MAX_AT_ONCE), "other"]
    assert [scan for batch in decisions.batches for scan in batch if scan != "other"] == [*range(50)]
    assert max(map(len, decisions.batches[1:])) == MAX_AT_ONCE


async def test_cancelled_scans_are_not_decided():
    decisions = Decisions()
    lane = decisions.lane()
    answers = [lane.submit(number) for number in range(MAX_AT_ONCE + 4)]
    await asyncio.sleep(0)
    for answer in (answers[0], answers[MAX_AT_ONCE], answers[MAX_AT_ONCE + 1]):
        answer.cancel()
    decisions.may.set()
    await asyncio.gather(answers[-2], answers[-1])
    decided = [scan for batch in decisions.batches for scan in batch]
    assert decided == [*range(MAX_AT_ONCE), MAX_AT_ONCE + 2, MAX_AT_ONCE + 3]


async def test_a_scan_cancelled_while_decided_leaves_no_exception():
    decisions = Decisions()
    lane = decisions.lane()
    answers = [lane.submit(number) for number in [*range(MAX_AT_ONCE), "bad"]]
    decisions.may.set()
    await asyncio.gather(*answers[:-1])
    answers[-1].cancel()
    await decisions.batcher.close()
    assert decisions.batches[-1] == ["bad"]


async def test_a_waiting_scan_alone_gets_its_failure():
    decisions = Decisions()
    lane = decisions.lane()
    answers = [lane.submit(number) for number in [*range(MAX_AT_ONCE), "bad", "good"]]
    decisions.may.set()
    with pytest.raises(Failure, match="bad"):
        await answers[-2]
    assert await answers[-1] == "good"


async def test_waiting_and_new_scans_beyond_the_queue_are_overloaded():
    decisions = Decisions(max_waiting=MAX_AT_ONCE)
    lane, others = decisions.lane(), decisions.lane()
    answers = [lane.submit(number) for number in range(MAX_AT_ONCE + 1)]
    with pytest.raises(Failure, match="too much at once"):
        others.submit("x")
    await asyncio.sleep(0)
    waiting = [others.submit(number) for number in range(MAX_AT_ONCE)]
    # The last scan is submitted while other scans fill the queue.
    answers[0].cancel()
    with pytest.raises(Failure, match="too much at once"):
        await answers[-1]
    decisions.may.set()
    await asyncio.gather(*answers[1:-1], *waiting)
