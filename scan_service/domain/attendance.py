"""How an event's admission stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ticketing.admission.scans import DenialReason


@dataclass(frozen=True, slots=True)
class Location:
    """One gate's scans."""

    location: str
    # Admitted and not taken back.
    check_ins: int
    check_outs: int
    denied: int
    last_minute: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is to count; equal to what is recorded, to the last scan."""

    # Could still be, or have been, admitted.
    tickets: int
    checked_in: int
    inside: int
    denials: Mapping[DenialReason, int]
    # By name.
    locations: Sequence[Location]


@dataclass(frozen=True, slots=True)
class Attendance:
    """The counts as of a moment."""

    counts: Counts
    as_of_time: datetime
