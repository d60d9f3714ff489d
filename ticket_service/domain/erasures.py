"""Erase a user, or an e-mail address, from both databases in steps.

A purchase, a ticket or a request of an erased user has the user id "". No caller has it, so it gives access to nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

# No other process continues an erasure that advanced within this time.
LEASE: Final = timedelta(minutes=1)


class SubjectKind(StrEnum):
    """What the subject of an erasure is."""

    USER = "USER"
    ADDRESS = "ADDRESS"


class ErasureStatus(StrEnum):
    """The state of an erasure."""

    ERASING_TICKETS = "ERASING_TICKETS"
    ERASING_SCANS = "ERASING_SCANS"
    COMPLETE = "COMPLETE"


class Step(StrEnum):
    """A group of rows in the tickets database."""

    TRANSFERS = "TRANSFERS"
    PURCHASES = "PURCHASES"
    TICKETS = "TICKETS"
    REFUNDS = "REFUNDS"
    OUTBOX = "OUTBOX"
    DELIVERIES = "DELIVERIES"
    KEYS = "KEYS"
    CHANGES = "CHANGES"


# A transfer that is settled meanwhile gives the ticket its recipient, so transfers come before tickets. The relay moves
# rows of the outbox to the deliveries.
STEPS: Final[Mapping[SubjectKind, tuple[Step, ...]]] = {
    SubjectKind.USER: tuple(Step),
    SubjectKind.ADDRESS: (Step.TRANSFERS, Step.PURCHASES),
}


@dataclass(frozen=True, slots=True)
class Erased:
    """The rows that one batch erased."""

    purchases: int = 0
    tickets: int = 0
    contacts: int = 0
    notifications: int = 0
    requests: int = 0
    scans: int = 0


NOTHING: Final = Erased()


@dataclass(frozen=True, slots=True)
class ScanCursor:
    """A position in the scans of the scan service."""

    event_id: UUID
    scan_id: UUID


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure and its progress."""

    erasure_id: UUID
    kind: SubjectKind
    # The user id or the address; None once the erasure is complete.
    subject: str | None
    # The step in the tickets database; None: all are done.
    step: Step | None
    scan_event_id: UUID | None
    scan_id: UUID | None
    purchases: int
    tickets: int
    contacts: int
    notifications: int
    requests: int
    scans: int
    # The events of which the user is the organizer.
    kept_events: int
    create_time: datetime
    complete_time: datetime | None
    due_time: datetime | None
    attempts: int

    @property
    def status(self) -> ErasureStatus:
        """The state of the erasure."""
        if self.complete_time is not None:
            return ErasureStatus.COMPLETE
        return ErasureStatus.ERASING_SCANS if self.step is None else ErasureStatus.ERASING_TICKETS

    @property
    def scan_cursor(self) -> ScanCursor | None:
        """The position in the scans; None: at the first one."""
        if self.scan_event_id is None or self.scan_id is None:
            return None
        return ScanCursor(self.scan_event_id, self.scan_id)


def begin(erasure_id: UUID, kind: SubjectKind, subject: str, now: datetime) -> Erasure:
    """Return a new erasure."""
    return Erasure(
        erasure_id=erasure_id,
        kind=kind,
        subject=subject,
        step=STEPS[kind][0],
        scan_event_id=None,
        scan_id=None,
        purchases=0,
        tickets=0,
        contacts=0,
        notifications=0,
        requests=0,
        scans=0,
        kept_events=0,
        create_time=now,
        complete_time=None,
        due_time=now + LEASE,
        attempts=0,
    )


def restart(erasure: Erasure) -> Erasure:
    """Return an incomplete erasure that looks again for rows in the tickets database."""
    return replace(erasure, step=erasure.step or STEPS[erasure.kind][0])


def advance(erasure: Erasure, erased: Erased, now: datetime) -> Erasure:
    """Add a batch in the tickets database; a step ends with a batch that erased nothing."""
    erasure = _add(erasure, erased, now)
    if erased != NOTHING or erasure.step is None:
        return erasure
    steps = STEPS[erasure.kind]
    following = steps[steps.index(erasure.step) + 1 :]
    if following:
        return replace(erasure, step=following[0])
    erasure = replace(erasure, step=None)
    # The scans database contains no addresses.
    return _complete(erasure, now) if erasure.kind is SubjectKind.ADDRESS else erasure


def advance_scans(erasure: Erasure, scans: int, cursor: ScanCursor | None, now: datetime) -> Erasure:
    """Add a part of the scans; without a cursor it was the last part."""
    erasure = _add(erasure, Erased(scans=scans), now)
    if cursor is None:
        return _complete(erasure, now)
    return replace(erasure, scan_event_id=cursor.event_id, scan_id=cursor.scan_id)


def _add(erasure: Erasure, erased: Erased, now: datetime) -> Erasure:
    return replace(
        erasure,
        purchases=erasure.purchases + erased.purchases,
        tickets=erasure.tickets + erased.tickets,
        contacts=erasure.contacts + erased.contacts,
        notifications=erasure.notifications + erased.notifications,
        requests=erasure.requests + erased.requests,
        scans=erasure.scans + erased.scans,
        due_time=now + LEASE,
        attempts=0,
    )


def _complete(erasure: Erasure, now: datetime) -> Erasure:
    return replace(erasure, subject=None, scan_event_id=None, scan_id=None, complete_time=now, due_time=None)
