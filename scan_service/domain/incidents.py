"""Incidents: what somebody should look into, as a function of what is recorded.

They are made anew from a ticket's scans whenever one of them comes in late or is taken back. So the same scans come to
the same incidents, in whatever order and however often they were uploaded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from scan_service.domain.admission_state import passed
from ticketing.admission.decision import Presented, decide
from ticketing.admission.scans import Attempt, DenialReason, Scan, ScanType
from ticketing.admission.tickets import Admission, AdmissionPolicy, Entry, Event, EventStatus
from ticketing.admission.tokens import Token

# In place of a ticket where none is known to have been shown.
NOBODY: Final = UUID(int=0)


class IncidentKind(StrEnum):
    """What an incident is about; the names of the contract."""

    DOUBLE_ADMISSION = "DOUBLE_ADMISSION"
    REVOKED_ADMISSION = "REVOKED_ADMISSION"
    FORGED_TOKEN = "FORGED_TOKEN"  # noqa: S105 - a name, no secret
    UNKNOWN_ADMISSION = "UNKNOWN_ADMISSION"
    INVALID_ADMISSION = "INVALID_ADMISSION"
    CODE_GUESSING = "CODE_GUESSING"


# All others are INVALID_ADMISSION.
_KINDS: Final = {
    DenialReason.SUPERSEDED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.CANCELLED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.REFUNDED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.BLOCKED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.EVENT_CANCELLED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.INVALID_SIGNATURE: IncidentKind.FORGED_TOKEN,
}


@dataclass(frozen=True, slots=True)
class Link:
    """A scan that belongs to an incident: the only one of its event, kind and subject."""

    event_id: UUID
    kind: IncidentKind
    # The ticket; what a forged token claims to be; a name for the device that guesses; or NOBODY.
    subject: UUID
    # Once known.
    ticket_id: UUID | None
    scan_id: UUID


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, with the scans that are involved."""

    incident_id: UUID
    kind: IncidentKind
    event_id: UUID
    ticket_id: UUID | None
    create_time: datetime
    # By scan_time.
    scans: tuple[Scan, ...]


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """Which incidents to list."""

    event_id: UUID
    # Whose event it must be; None: anybody's.
    organizer_id: str | None
    size: int
    # The last one of the page before.
    before: UUID | None


def violation_of(
    event: Event, attempt: Attempt, shown: Presented | DenialReason, time: datetime
) -> IncidentKind | None:
    """Say what the rules have against letting in what was shown at `time`, wherever the person was."""
    if isinstance(shown, DenialReason):
        return _KINDS.get(shown, IncidentKind.INVALID_ADMISSION)
    if event.status is EventStatus.COMPLETED:
        # Over by the time of the upload; whether it was over at the door, the times say.
        event = replace(event, status=EventStatus.PUBLISHED)
    at_the_right_place = Admission(inside=attempt.scan_type is not ScanType.CHECK_IN)
    shown = replace(shown, ticket=replace(shown.ticket, admission=at_the_right_place))
    entry = Entry(attempt.scan_id, time, attempt.gate.location)
    reason = decide(event, attempt.gate, shown, attempt.scan_type, entry).reason
    return None if reason is None else _KINDS.get(reason, IncidentKind.INVALID_ADMISSION)


def forgery(scan: Scan, credential: object) -> Link:
    """Link a scan of a token that nobody signed; all that are damaged beyond reading are one incident."""
    claimed = credential.ticket_id if isinstance(credential, Token) else NOBODY
    return Link(scan.gate_event_id, IncidentKind.FORGED_TOKEN, claimed, None, scan.scan_id)


def guess(scan: Scan) -> Link:
    """Link a scan of a code that does not exist, by a device that has tried too many; one incident for each device."""
    device = uuid5(NAMESPACE_OID, f"{scan.device_id}\0{scan.scanner_user_id}")
    return Link(scan.gate_event_id, IncidentKind.CODE_GUESSING, device, None, scan.scan_id)


def conflicts(policy: AdmissionPolicy | None, scans: Iterable[Scan]) -> Iterator[Link]:
    """Link the scans of one ticket at one event's gates that cannot be, other than forgeries.

    Args:
        policy: the event's; None where the ticket is for another event, so that nobody is inside by it.
        scans: all that it was let through by.
    """
    through = passed(scans)
    for scan in through:
        if scan.violation is not None and scan.violation != IncidentKind.FORGED_TOKEN:
            yield _link(scan, IncidentKind(scan.violation))
    if policy in {AdmissionPolicy.SINGLE_ENTRY, AdmissionPolicy.RE_ENTRY}:
        # With re-entry, leaving makes room for the next check-in.
        yield from _doubles(through, parted_by_leaving=policy is AdmissionPolicy.RE_ENTRY)
    if policy is not None:
        yield from _from_nowhere(through, policy)


def _doubles(through: Iterable[Scan], *, parted_by_leaving: bool) -> Iterator[Link]:
    together = list[Scan]()
    for scan in through:
        if scan.scan_type is ScanType.CHECK_IN:
            together.append(scan)
        elif scan.scan_type is ScanType.CHECK_OUT and parted_by_leaving:
            yield from _double(together)
            together = []
    yield from _double(together)


def _double(together: list[Scan]) -> Iterator[Link]:
    # Without a device that was offline, the lock on the ticket has seen to it that there is one.
    if len(together) > 1 and any(scan.offline for scan in together):
        yield from (_link(scan, IncidentKind.DOUBLE_ADMISSION) for scan in together)


def _from_nowhere(through: Iterable[Scan], policy: AdmissionPolicy) -> Iterator[Link]:
    """Find who left, or went on inside, without being inside."""
    inside = False
    for scan in through:
        counts = scan.scan_type is ScanType.CHECK_OUT or policy is not AdmissionPolicy.UNLIMITED
        if scan.scan_type is not ScanType.CHECK_IN and counts and scan.offline and not inside:
            yield _link(scan, IncidentKind.INVALID_ADMISSION)
        if scan.scan_type is not ScanType.ACCESS:
            inside = scan.scan_type is ScanType.CHECK_IN


def _link(scan: Scan, kind: IncidentKind) -> Link:
    return Link(scan.gate_event_id, kind, scan.ticket_id or NOBODY, scan.ticket_id, scan.scan_id)
