"""The time of a service or a device under test."""

from datetime import UTC, datetime, timedelta


class SettableClock:
    """A clock that a test sets.

    Args:
        start: the time at which the clock stands until the test sets it; None: the clock runs with the real time.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return self.now

    @property
    def now(self) -> datetime:
        """The time that the clock shows."""
        return (self._start or datetime.now(UTC)) + self._ahead

    @now.setter
    def now(self, time: datetime) -> None:
        self.advance(time - self.now)

    def advance(self, by: timedelta) -> None:
        """Set the clock forward or back."""
        self._ahead += by
