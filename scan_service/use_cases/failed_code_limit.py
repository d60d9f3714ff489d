"""The bound on unknown codes of a device: beyond it, typed codes are refused, and an incident is recorded.

A code has 64 bits, but no honest device needs many tries. Each process counts for itself. Tokens are never delayed:
signatures cannot be guessed, and a gate keeps admitting tokens while a person types codes there.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from scan_service.domain.incidents import IncidentScan, assign_guess
from scan_service.store import incidents
from scan_service.store.clock import DatabaseClock
from scan_service.use_cases.batch_locker import Answers
from ticketing.admission.scans import Attempt, DenialReason, Scan
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.rate_limiter import RateLimiter

MINUTE: Final = timedelta(minutes=1)
# Guesses that wait to be recorded; further ones belong to incidents that are recorded anyway.
MAX_UNRECORDED: Final = 1_000

Process = Callable[[Sequence[Attempt]], Awaitable[Answers]]


class FailedCodeLimit:
    """The count of unknown codes by device or person, and the bound on it."""

    def __init__(self, per_minute: int, database: Database, clock: DatabaseClock) -> None:
        self._buckets = RateLimiter(per_minute / MINUTE.total_seconds(), per_minute)
        self._database = database
        self._clock = clock
        # The guesses whose incident is not recorded yet, by scan_id.
        self._unrecorded = dict[UUID, IncidentScan]()
        # Called when there are guesses to record.
        self.report_guess: Callable[[], None] = lambda: None

    def count(self, attempt: Attempt) -> None:
        """Count a typed code before it is looked up; raise OVERLOADED where its device has reached the limit.

        So a device cannot exceed the limit by many codes at once.
        """
        if not isinstance(attempt.credential, bytes):
            return
        if wait := self._buckets.wait(_device(attempt)):
            raise overloaded("codes that do not exist", wait)
        self._buckets.take(_device(attempt))

    def discount(self, attempt: Attempt, answer: Scan | Failure | None) -> None:
        """Discount a typed code that exists or that got no answer (None)."""
        if isinstance(attempt.credential, bytes) and not _is_guess(attempt, answer):
            self._buckets.give_back(_device(attempt))

    async def process(self, attempts: Sequence[Attempt], decide: Process) -> Answers:
        """Decide a batch of live scans without the refused ones, and keep guessed codes for `record`."""
        if not any(isinstance(attempt.credential, bytes) for attempt in attempts):
            return await decide(attempts)
        refused = dict[int, Failure]()
        for index, attempt in enumerate(attempts):
            try:
                self.count(attempt)
            except Failure as failure:
                refused[index] = failure
        if len(refused) == len(attempts):
            return list(refused.values())
        accepted = [attempt for index, attempt in enumerate(attempts) if index not in refused]
        results: Answers | None = None
        try:
            results = await decide(accepted)
        finally:
            answers: Sequence[Scan | Failure | None] = results or [None] * len(accepted)
            for attempt, answer in zip(accepted, answers, strict=True):
                self.discount(attempt, answer)
        guesses = [
            assign_guess(scan)
            for attempt, scan in zip(accepted, results, strict=True)
            if _is_guess(attempt, scan) and isinstance(scan, Scan) and self._buckets.wait(_device(attempt))
        ]
        if guesses:
            self._keep(guesses)
        decided = iter(results)
        return [refused.get(index) or next(decided) for index in range(len(attempts))]

    def _keep(self, guesses: Sequence[IncidentScan]) -> None:
        """Keep guesses for `record`: people at all gates of the batch wait, and must not wait for locked incidents."""
        for guess in guesses[: MAX_UNRECORDED - len(self._unrecorded)]:
            self._unrecorded[guess.scan_id] = guess
        self.report_guess()

    async def record(self) -> None:
        """Record the incidents of guesses; where the database does not answer, raise, and keep them for the next call."""
        guesses = list(self._unrecorded.values())
        if guesses:
            await self._database.run(lambda it: incidents.add(it, guesses, self._clock.read(it)))
            for guess in guesses:
                del self._unrecorded[guess.scan_id]


def _device(attempt: Attempt) -> tuple[str, str]:
    return attempt.device_id, attempt.scanner_user_id


def _is_guess(attempt: Attempt, answer: Scan | Failure | None) -> bool:
    if not isinstance(answer, Scan) or not isinstance(attempt.credential, bytes):
        return False
    return answer.denial_reason is DenialReason.TICKET_NOT_FOUND
