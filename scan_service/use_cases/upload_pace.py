"""The pace of uploads: while live scans come, uploads rest after each batch, in proportion to its time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final

from scan_service.use_cases.scan_counters import Process
from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.failures import Failure

# A batch of uploads uses a core or more, and live scans wait for cores: without rests their p99 was 6 to 8 times the usual
# one. Uploads rest this many times as long as each batch took.
UPLOAD_REST: Final = 1.0
# A batch that waited for a locked row or for the database used no core.
MAX_REST_SECONDS: Final = 0.1


class UploadPace:
    """The rest of the uploads of this process; `clock` and `sleep` measure and wait in seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        # Whether live scans were decided since the last batch of uploads began.
        self._is_shared = False
        self._rest_until = 0.0

    def of_live_scans(self, decide: Process) -> Process:
        """Return `decide` with a note that live scans come."""

        async def noting(attempts: Sequence[Attempt]) -> Sequence[Scan | Failure]:
            self._is_shared = True
            return await decide(attempts)

        return noting

    def of_uploads(self, record: Process) -> Process:
        """Return `record` with the rest that the batch before has caused; no answer waits for its own rest."""

        async def resting(attempts: Sequence[Attempt]) -> Sequence[Scan | Failure]:
            if (rest := self._rest_until - self._clock()) > 0:
                await self._sleep(rest)
            begin, self._is_shared = self._clock(), False
            try:
                return await record(attempts)
            finally:
                end = self._clock()
                rest = min(UPLOAD_REST * (end - begin), MAX_REST_SECONDS) if self._is_shared else 0.0
                self._rest_until = end + rest

        return resting
