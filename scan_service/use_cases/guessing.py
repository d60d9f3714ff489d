"""Who types codes that do not exist is slowed, and becomes an incident: a code has 64 bits, but nobody needs to try many.

Counted by each process for itself. Tokens are never held up: nobody guesses a signature, and a door where somebody plays
with the keyboard goes on admitting.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from scan_service.domain.incidents import Link, guess
from scan_service.store.incidents import note_here
from ticketing.admission.scans import Attempt, DenialReason, Scan
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.limits import RateLimiter

log = logging.getLogger(__name__)
MINUTE: Final = timedelta(minutes=1)

Answers = Sequence[Scan | Failure]
Process = Callable[[Sequence[Attempt]], Awaitable[Answers]]


class Guessing:
    """Counts codes that do not exist, by device or by who scans.

    Args:
        per_minute: how many of one device are borne.
        database: for the incidents.
        clock: the present time.
    """

    def __init__(self, per_minute: int, database: Database, clock: Clock) -> None:
        self._buckets = RateLimiter(per_minute / MINUTE.total_seconds(), per_minute)
        self._database = database
        self._clock = clock

    def check(self, attempt: Attempt) -> None:
        """Hold a typed code up where its device has tried too many.

        Raises:
            Failure: OVERLOADED.
        """
        if isinstance(attempt.credential, bytes) and (wait := self._buckets.wait(_device(attempt))):
            raise overloaded("codes that do not exist", wait)

    def note(self, attempt: Attempt, scan: Scan) -> bool:
        """Count an answer; tell whether it was one guess too many."""
        if scan.denial_reason is not DenialReason.TICKET_NOT_FOUND or not isinstance(attempt.credential, bytes):
            return False
        self._buckets.take(_device(attempt))
        return bool(self._buckets.wait(_device(attempt)))

    async def process(self, attempts: Sequence[Attempt], decide: Process) -> Answers:
        """Decide a batch of live scans without those that are held up, and note the incidents."""
        if not any(isinstance(attempt.credential, bytes) for attempt in attempts):
            return await decide(attempts)
        held_up = dict[int, Failure]()
        for place, attempt in enumerate(attempts):
            try:
                self.check(attempt)
            except Failure as failure:
                held_up[place] = failure
        if len(held_up) == len(attempts):
            return list(held_up.values())
        passed = [attempt for place, attempt in enumerate(attempts) if place not in held_up]
        decided = await decide(passed)
        guesses = [
            guess(scan)
            for attempt, scan in zip(passed, decided, strict=True)
            if isinstance(scan, Scan) and self.note(attempt, scan)
        ]
        if guesses:
            await self._report(guesses)
        answers = iter(decided)
        return [held_up.get(place) or next(answers) for place in range(len(attempts))]

    async def _report(self, guesses: Sequence[Link]) -> None:
        now = self._clock()
        try:
            await self._database.run(lambda connection: note_here(connection, guesses, now))
        except Failure as failure:
            # What was decided stands all the same; whoever goes on guessing is noted at the next one.
            log.warning("guessing was not noted", extra={"cause": failure.message})


def _device(attempt: Attempt) -> tuple[str, str]:
    return attempt.device_id, attempt.scanner_user_id
