"""The rules of admission: who gets in, who does not, and why. Pure, so that a gate can decide by the same rules alone.

The order in which reasons are looked for is a promise of its own, since a person is told only the first:

1. Is it a ticket at all? TICKET_NOT_FOUND, INVALID_SIGNATURE.
2. Is it for here? WRONG_EVENT.
3. Is the event on? EVENT_CANCELLED, EVENT_NOT_OPEN.
4. Is the ticket good? SUPERSEDED, REFUNDED, CANCELLED, BLOCKED.
5. Does this gate take it? TICKET_TYPE_NOT_ALLOWED.
6. Is it time? NOT_YET_VALID, EXPIRED.
7. Where is the person? ALREADY_CHECKED_IN, NOT_CHECKED_IN.

Leaving skips 3 to 6: nobody who is inside is kept there because the event ended or a ticket was blocked meanwhile.
"""

from dataclasses import dataclass, replace
from typing import Final

from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import (
    Admission,
    AdmissionPolicy,
    Entry,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)


@dataclass(frozen=True, slots=True)
class Presented:
    """A ticket as it was shown: by a token that is genuine, or by its code."""

    ticket: Ticket
    # The newest issue's where a code was typed: codes of older ones are unknown.
    issue: int
    ticket_type: TicketType | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and how the ticket's admission stands after it."""

    reason: DenialReason | None
    # The check-in that stands in the way.
    previous: Entry | None = None
    # None: nothing changes.
    admission: Admission | None = None


ADMIT: Final = Decision(None)

# Why a ticket of that status is denied, at every gate.
BY_STATUS: Final = {
    TicketStatus.CANCELLED: DenialReason.CANCELLED,
    TicketStatus.REFUNDED: DenialReason.REFUNDED,
    TicketStatus.BLOCKED: DenialReason.BLOCKED,
}


def decide(event: Event, gate: Gate, shown: Presented, scan_type: ScanType, entry: Entry) -> Decision:
    """Decide one scan.

    Args:
        event: the gate's.
        gate: where it is.
        shown: the ticket.
        scan_type: what passing means.
        entry: this scan, as the check-in it would be.
    """
    ticket = shown.ticket
    if ticket.event_id != gate.event_id:
        return Decision(DenialReason.WRONG_EVENT)
    if scan_type is ScanType.CHECK_OUT:
        return _check_out(ticket.admission)
    reason = (
        _event_reason(event) or _ticket_reason(shown) or _type_reason(gate, shown) or _time_reason(event, ticket, entry)
    )
    if reason is not None:
        return Decision(reason)
    if scan_type is ScanType.ACCESS:
        return _access(event.policy, ticket.admission)
    return _check_in(event.policy, ticket.admission, entry)


def _event_reason(event: Event) -> DenialReason | None:
    if event.closed or event.status is EventStatus.CANCELLED:
        return DenialReason.EVENT_CANCELLED
    return None if event.status is EventStatus.PUBLISHED else DenialReason.EVENT_NOT_OPEN


def _ticket_reason(shown: Presented) -> DenialReason | None:
    if shown.issue < shown.ticket.issue:
        return DenialReason.SUPERSEDED
    return BY_STATUS.get(shown.ticket.status)


def _type_reason(gate: Gate, shown: Presented) -> DenialReason | None:
    if gate.allowed_types and shown.ticket_type not in gate.allowed_types:
        return DenialReason.TICKET_TYPE_NOT_ALLOWED
    return None


def _time_reason(event: Event, ticket: Ticket, entry: Entry) -> DenialReason | None:
    begin, end = ticket.valid_from_time or event.valid_from_time, ticket.valid_until_time or event.valid_until_time
    if begin is not None and entry.time < begin:
        return DenialReason.NOT_YET_VALID
    return DenialReason.EXPIRED if end is not None and entry.time > end else None


def _check_in(policy: AdmissionPolicy, admission: Admission, entry: Entry) -> Decision:
    stands = admission.check_in_time is not None
    if (policy is AdmissionPolicy.SINGLE_ENTRY and stands) or (policy is AdmissionPolicy.RE_ENTRY and admission.inside):
        return Decision(DenialReason.ALREADY_CHECKED_IN, previous=admission.entry)
    return Decision(
        None,
        admission=Admission(
            check_in_time=admission.check_in_time or entry.time,
            entry=entry,
            inside=True,
            sequence=admission.sequence if stands else admission.sequence + 1,
        ),
    )


def _check_out(admission: Admission) -> Decision:
    """Let out whoever is inside; a single entry stays used."""
    if not admission.inside:
        return Decision(DenialReason.NOT_CHECKED_IN)
    return Decision(None, admission=replace(admission, inside=False))


def _access(policy: AdmissionPolicy, admission: Admission) -> Decision:
    """Let into an area of the event whoever is inside; with UNLIMITED nobody counts who is."""
    if policy is AdmissionPolicy.UNLIMITED or admission.inside:
        return ADMIT
    return Decision(DenialReason.NOT_CHECKED_IN)
