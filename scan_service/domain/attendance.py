"""The attendance of an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ticketing.admission.scans import DenialReason
from ticketing.admission.tickets import TicketType


@dataclass(frozen=True, slots=True)
class LocationCounts:
    """The scans of one location."""

    location: str
    # The counts of effective scans, which are admitted and not annulled.
    check_ins: int
    check_outs: int
    accesses: int
    denied: int
    # The count of all scans of the last minute.
    last_minute: int


@dataclass(frozen=True, slots=True)
class TypeCounts:
    """The tickets of one type."""

    # The value is None for tickets that are known by a revocation only.
    ticket_type: TicketType | None
    # The count of tickets that are ACTIVE or have been checked in.
    tickets: int
    checked_in: int
    inside: int


@dataclass(frozen=True, slots=True)
class AttendanceCounts:
    """The counts of one event, exact to the last recorded scan."""

    types: Sequence[TypeCounts]
    denials: Mapping[DenialReason, int]
    # The list is ordered by name.
    locations: Sequence[LocationCounts]


@dataclass(frozen=True, slots=True)
class Attendance:
    """The counts of one event at one time."""

    counts: AttendanceCounts
    as_of_time: datetime
