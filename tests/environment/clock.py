"""The time of a service or a device under test."""

from datetime import UTC, datetime, timedelta


class SettableClock:
    """A clock that a test sets. The clock stands at `start`, or runs with the real time if `start` is None."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return self.now

    @property
    def now(self) -> datetime:
        return self.shift(datetime.now(UTC))

    @now.setter
    def now(self, time: datetime) -> None:
        self.advance(time - self.now)

    def shift(self, time: datetime) -> datetime:
        """Return the time of this clock at a real time."""
        return (self._start or time) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Move the clock forward, or back if `by` is negative."""
        self._ahead += by


class Seconds:
    """A monotonic clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now
