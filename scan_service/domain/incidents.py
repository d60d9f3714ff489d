"""Incidents as a function of the recorded scans.

Each upload and each annulment computes the incidents of a ticket again from all of its scans. So the same scans lead to
the same incidents, whatever the order and the number of uploads.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from scan_service.domain.admission_state import select_effective
from ticketing.admission.days import is_new_day
from ticketing.admission.decision import PresentedTicket, find_denial
from ticketing.admission.scans import Attempt, DenialReason, Scan, ScanType, Verdict
from ticketing.admission.tickets import AdmissionPolicy, Event, EventStatus
from ticketing.admission.tokens import Token

# The subject of incidents without a known ticket.
NO_SUBJECT: Final = UUID(int=0)
# The number of annulled check-ins of one ticket that is an incident.
MIN_ANNULMENTS: Final = 2
# The number of denied scans of one text that makes it a forged token.
MIN_FORGED_READS: Final = 2


class IncidentKind(StrEnum):
    """The kind of an incident; the names are those of the contract."""

    DOUBLE_ADMISSION = "DOUBLE_ADMISSION"
    REVOKED_ADMISSION = "REVOKED_ADMISSION"
    FORGED_TOKEN = "FORGED_TOKEN"  # noqa: S105 - a name, no secret
    UNKNOWN_ADMISSION = "UNKNOWN_ADMISSION"
    INVALID_ADMISSION = "INVALID_ADMISSION"
    CODE_GUESSING = "CODE_GUESSING"
    INVALID_ANNULMENT = "INVALID_ANNULMENT"
    REPEATED_ANNULMENT = "REPEATED_ANNULMENT"


# Admissions that the rules deny for any other reason are INVALID_ADMISSION.
_KINDS: Final = {
    DenialReason.SUPERSEDED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.CANCELLED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.REFUNDED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.BLOCKED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.EVENT_CANCELLED: IncidentKind.REVOKED_ADMISSION,
    DenialReason.INVALID_SIGNATURE: IncidentKind.FORGED_TOKEN,
}


@dataclass(frozen=True, slots=True)
class IncidentScan:
    """The assignment of a scan to an incident; event, kind and subject identify the incident."""

    event_id: UUID
    kind: IncidentKind
    # The ticket, the digest of a forged token, an id for the device that guesses codes, or NO_SUBJECT.
    subject: UUID
    # None: the ticket is unknown.
    ticket_id: UUID | None
    scan_id: UUID
    # The incident is recorded once it has this number of scans.
    min_scans: int = 1


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident with its scans."""

    incident_id: UUID
    kind: IncidentKind
    event_id: UUID
    ticket_id: UUID | None
    create_time: datetime
    # The scans are ordered by scan_time.
    scans: tuple[Scan, ...]


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """A filter and a page of the list of incidents."""

    event_id: UUID
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None
    size: int
    # The id of the last incident of the previous page.
    before: UUID | None


def find_violation(
    event: Event, attempt: Attempt, presented: PresentedTicket | DenialReason, time: datetime
) -> IncidentKind | None:
    """Return how an admission of `presented` at `time` violates the rules; None where they allow it.

    The check ignores whether the person was inside: `assign_conflicts` decides that from all scans.
    """
    if isinstance(presented, DenialReason):
        return _KINDS.get(presented, IncidentKind.INVALID_ADMISSION)
    if event.status is EventStatus.COMPLETED:
        # The event has ended by the time of the upload; the times decide whether it had ended at the scan.
        event = replace(event, status=EventStatus.PUBLISHED)
    if attempt.offline is not None and attempt.offline.clock_unknown:
        # The time proves nothing.
        event = replace(event, valid_from_time=None, valid_until_time=None)
        undated = replace(presented.ticket, valid_from_time=None, valid_until_time=None)
        presented = replace(presented, ticket=undated)
    reason = find_denial(event, attempt.gate, presented, attempt.scan_type, time)
    return None if reason is None else _KINDS.get(reason, IncidentKind.INVALID_ADMISSION)


def assign_forgery(scan: Scan, credential: object) -> IncidentScan | None:
    """Assign a scan of a token that does not verify to the incident of its text; return None for a damaged read.

    A scanner or a keyboard may lose or change a character, but hardly the same one twice. So a denied token is forged
    once it was read twice with the same text.
    """
    is_admitted = scan.verdict is Verdict.ADMITTED
    if not is_admitted and not isinstance(credential, Token):
        return None
    subject = UUID(bytes=credential.digest) if isinstance(credential, Token) else NO_SUBJECT
    min_scans = 1 if is_admitted else MIN_FORGED_READS
    return IncidentScan(scan.gate_event_id, IncidentKind.FORGED_TOKEN, subject, None, scan.scan_id, min_scans)


def assign_guess(scan: Scan) -> IncidentScan:
    """Assign a scan of an unknown code to the code-guessing incident of its device."""
    device = uuid5(NAMESPACE_OID, f"{scan.device_id}\0{scan.scanner_user_id}")
    return IncidentScan(scan.gate_event_id, IncidentKind.CODE_GUESSING, device, None, scan.scan_id)


def assign_conflicts(event: Event | None, scans: Iterable[Scan]) -> Iterator[IncidentScan]:
    """Assign all admitted scans of one ticket at one event's gates to incidents, other than forgeries.

    `event` is None where the ticket is for another event, whose policy does not apply here.
    """
    scans = list(scans)
    if len(scans) == 1 and _is_plain_check_in(scans[0]):
        # The checks below take most of the time of an upload, in which nearly every ticket was scanned once.
        return
    yield from _assign_annulled(scans)
    effective = select_effective(scans)
    for scan in effective:
        if scan.violation is not None and scan.violation != IncidentKind.FORGED_TOKEN:
            yield _assign(scan, IncidentKind(scan.violation))
        if scan.claimed_annul_time is not None:
            # The scan is in effect in spite of the claim.
            yield _assign(scan, IncidentKind.INVALID_ANNULMENT)
    if event is not None:
        if event.policy is not AdmissionPolicy.UNLIMITED:
            yield from _assign_doubles(effective, event)
        yield from _assign_outsiders(effective, event.policy)


def _is_plain_check_in(scan: Scan) -> bool:
    return scan.scan_type is ScanType.CHECK_IN and scan.violation is None and scan.claimed_annul_time is None


def _assign_annulled(scans: Iterable[Scan]) -> Iterator[IncidentScan]:
    """Find repeated annulments of check-ins: after each of them, another person could enter with the ticket."""
    check_ins = (scan for scan in scans if scan.scan_type is ScanType.CHECK_IN and scan.ticket_id is not None)
    annulled = [scan for scan in check_ins if scan.annul_time is not None]
    if len(annulled) >= MIN_ANNULMENTS:
        yield from (_assign(scan, IncidentKind.REPEATED_ANNULMENT) for scan in annulled)


def _assign_doubles(effective: Iterable[Scan], event: Event) -> Iterator[IncidentScan]:
    """Find several check-ins where a check-out (under RE_ENTRY) or a new day would have to separate them."""
    check_ins = list[Scan]()
    for scan in effective:
        if scan.scan_type is ScanType.CHECK_IN:
            if check_ins and is_new_day(event, check_ins[-1].scan_time, scan.scan_time):
                yield from _assign_double(check_ins)
                check_ins = []
            check_ins.append(scan)
        elif scan.scan_type is ScanType.CHECK_OUT and event.policy is AdmissionPolicy.RE_ENTRY:
            yield from _assign_double(check_ins)
            check_ins = []
    yield from _assign_double(check_ins)


def _assign_double(check_ins: list[Scan]) -> Iterator[IncidentScan]:
    # Without an offline device, the lock on the ticket guarantees a single check-in.
    if len(check_ins) > 1 and any(scan.offline for scan in check_ins):
        yield from (_assign(scan, IncidentKind.DOUBLE_ADMISSION) for scan in check_ins)


def _assign_outsiders(effective: Iterable[Scan], policy: AdmissionPolicy) -> Iterator[IncidentScan]:
    """Find offline check-outs and accesses of a person who was not inside."""
    inside = False
    for scan in effective:
        counts = scan.scan_type is ScanType.CHECK_OUT or policy is not AdmissionPolicy.UNLIMITED
        if scan.scan_type is not ScanType.CHECK_IN and counts and scan.offline and not inside:
            yield _assign(scan, IncidentKind.INVALID_ADMISSION)
        if scan.scan_type is not ScanType.ACCESS:
            inside = scan.scan_type is ScanType.CHECK_IN


def _assign(scan: Scan, kind: IncidentKind) -> IncidentScan:
    return IncidentScan(scan.gate_event_id, kind, scan.ticket_id or NO_SUBJECT, scan.ticket_id, scan.scan_id)
