"""The events with rows that another session has locked for long: their scans wait for no lock until they are free."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Attempt
from ticketing.chassis.locked_events import COUNTED_SECONDS, LOCKED

log = logging.getLogger(__name__)

# An event whose tickets are locked one after the other would cause a wait for each of them, so it stays here for this time
# after the last refusal.
MIN_SECONDS: Final = 5.0


class LockedEvents:
    """The locked events that one batcher knows, each with the time of its last refusal."""

    def __init__(self, batcher: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._refused = dict[UUID, float]()
        LOCKED.labels(batcher).set_function(self._count)

    def split(self, attempts: Sequence[Attempt]) -> tuple[list[int], list[int]]:
        """Return the indexes of the attempts at other events, and of those at locked events."""
        if not self._refused:
            return list(range(len(attempts))), []
        free, locked = list[int](), list[int]()
        for index, attempt in enumerate(attempts):
            (locked if attempt.gate.event_id in self._refused else free).append(index)
        return free, locked

    def covers(self, event_ids: Collection[UUID]) -> bool:
        """Return whether all of these events were locked at the last attempt."""
        return self._refused.keys() >= set(event_ids)

    def note(self, tried: Collection[UUID], refused: Collection[UUID]) -> None:
        """Note the events of a batch that waited for no lock, and those with refused scans."""
        now = self._monotonic()
        if new := set(refused) - self._refused.keys():
            log.warning(
                "rows are locked by another session; scans of these events are refused",
                extra={"event_ids": sorted(map(str, new))},
            )
        self._refused |= dict.fromkeys(refused, now)
        free = [event_id for event_id in tried if now - self._refused.get(event_id, now) >= MIN_SECONDS]
        if free:
            log.info("no rows of these events are locked any more", extra={"event_ids": sorted(map(str, free))})
        for event_id in free:
            del self._refused[event_id]

    def _count(self) -> int:
        """Count the locked events; the thread of the metrics calls this."""
        now = self._monotonic()
        return sum(now - refused < COUNTED_SECONDS for refused in list(self._refused.values()))
