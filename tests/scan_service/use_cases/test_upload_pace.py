"""Tests of the pace of uploads: they rest while live scans come, in proportion to their time."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from scan_service.domain.reasons import Reason
from scan_service.use_cases.upload_pace import MAX_REST_SECONDS, UPLOAD_REST, UploadPace
from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.failures import Failure

BATCH_SECONDS = 0.02


class Uploads:
    """Batches of uploads on a clock that only they, their rests and `wait` move."""

    def __init__(self, seconds: float = BATCH_SECONDS) -> None:
        self.now = 1_000.0
        # The times at which batches began.
        self.begins = list[float]()
        self.is_beside_live_scans = False
        self.outcome: Failure | None = None
        self._seconds = seconds
        pace = UploadPace(lambda: self.now, self.wait)
        self._record, self._decide = pace.of_uploads(self._batch), pace.of_live_scans(_nothing)

    async def wait(self, seconds: float) -> None:
        self.now += seconds

    async def record(self, *, beside_live_scans: bool) -> None:
        self.is_beside_live_scans = beside_live_scans
        await self._record([])

    async def decide(self) -> None:
        await self._decide([])

    async def _batch(self, _: Sequence[Attempt]) -> Sequence[Scan | Failure]:
        self.begins.append(self.now)
        if self.is_beside_live_scans:
            await self._decide([])
        self.now += self._seconds
        if self.outcome is not None:
            raise self.outcome
        return []

    @property
    def rests(self) -> Sequence[float]:
        """The seconds from the end of each batch to the begin of the next one."""
        return [round(after - before - self._seconds, 6) for before, after in pairwise(self.begins)]


async def _nothing(_: Sequence[Attempt]) -> Sequence[Scan | Failure]:
    return []


async def test_uploads_rest_in_proportion_while_live_scans_come() -> None:
    uploads = Uploads()
    for _ in range(3):
        await uploads.record(beside_live_scans=True)
    assert uploads.rests == [UPLOAD_REST * BATCH_SECONDS] * 2


async def test_uploads_without_live_scans_do_not_rest() -> None:
    uploads = Uploads()
    await uploads.decide()
    for _ in range(3):
        await uploads.record(beside_live_scans=False)
    assert uploads.rests == [0, 0]


async def test_uploads_go_on_at_full_speed_once_live_scans_end() -> None:
    uploads = Uploads()
    await uploads.record(beside_live_scans=True)
    for _ in range(2):
        await uploads.record(beside_live_scans=False)
    assert uploads.rests == [UPLOAD_REST * BATCH_SECONDS, 0]


async def test_a_pause_between_uploads_counts_as_rest() -> None:
    uploads = Uploads()
    await uploads.record(beside_live_scans=True)
    await uploads.wait(1)
    await uploads.record(beside_live_scans=False)
    assert uploads.rests == [1]


async def test_a_batch_that_waited_long_causes_a_short_rest() -> None:
    uploads = Uploads(seconds=5)
    for _ in range(2):
        await uploads.record(beside_live_scans=True)
    assert uploads.rests == [MAX_REST_SECONDS]


async def test_uploads_rest_after_a_batch_that_failed() -> None:
    uploads = Uploads()
    uploads.outcome = Failure(Reason.EVENT_NOT_FOUND, "a failure of a test")
    for _ in range(2):
        with pytest.raises(Failure):
            await uploads.record(beside_live_scans=True)
    assert uploads.rests == [UPLOAD_REST * BATCH_SECONDS]
