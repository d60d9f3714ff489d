"""Places in the write-ahead log: they show whether a promoted standby has what was read from the server before it.

The log is a sequence. A standby that was promoted at a position has every change whose record ends there or earlier, and
none of the later ones. Its own records belong to the next timeline.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in the log: everything that was visible at the reading has its record before `position`."""

    timeline: int
    position: int

    def __str__(self) -> str:
        return f"{self.timeline}.{self.position}"


@dataclass(frozen=True, slots=True)
class ServerLog:
    """The log of a server at a reading."""

    # None: the server is a standby.
    place: LogPlace | None = None
    # The end of the log that the server replayed as a standby; None: it was no standby since its last start.
    promoted_at: int | None = None

    def has(self, read: LogPlace | None) -> bool:
        """Return whether the server has everything that was visible at the place of an earlier reading.

        `read` is None for a reading of an earlier version or from a standby.
        """
        if self.place is None:
            # A standby follows its primary.
            return True
        if read is None:
            return self.promoted_at is None
        if read.timeline == self.place.timeline:
            return True
        # Nothing shows at which position an earlier standby was promoted.
        is_next = read.timeline + 1 == self.place.timeline
        return is_next and self.promoted_at is not None and read.position <= self.promoted_at
