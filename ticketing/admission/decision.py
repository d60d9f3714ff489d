"""The rules of admission: which scans are admitted, which are denied, and for which reason.

The rules are pure functions, so a gate device can decide by the same rules without the scan service. A scan is denied
for the first reason that applies, and the order of the reasons is part of the contract:

1. The text identifies a ticket (checked before `decide`, in `TicketLookup.find` or `decide_offline`):
   TICKET_NOT_FOUND, INVALID_SIGNATURE.
2. The ticket is for this event: WRONG_EVENT.
3. The event is open: EVENT_CANCELLED, EVENT_NOT_OPEN.
4. The ticket is valid: SUPERSEDED, REFUNDED, CANCELLED, BLOCKED, UNKNOWN.
5. The gate allows the ticket type: TICKET_TYPE_NOT_ALLOWED.
6. The time is right: NOT_YET_VALID, EXPIRED.
7. The person is outside or inside, as the scan requires: ALREADY_CHECKED_IN, NOT_CHECKED_IN.

A token of an event that the replica still has as a DRAFT passes 3: tickets are sold only once the event is published.

A check-out skips 3 to 6: a person can leave after the event ended or the ticket was blocked.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from ticketing.admission.days import is_new_day
from ticketing.admission.records import record
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
    CheckIn,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)


@record(frozen=True, slots=True)
class PresentedTicket:
    """A ticket that a person presents by a genuine token or by a code."""

    ticket: Ticket
    # The issue of the token. A typed code always belongs to the newest issue: codes of older issues are unknown.
    issue: int
    ticket_type: TicketType | None
    # A genuine token proves that the event is on sale, whatever the replica says.
    by_token: bool = False


@record(frozen=True, slots=True)
class Decision:
    """The decision on one scan, and the admission state of the ticket after it."""

    # None: admitted.
    reason: DenialReason | None
    # The earlier check-in, where it is the reason for the denial.
    previous: CheckIn | None = None
    # None: the admission state does not change.
    admission: AdmissionState | None = None


# The denial reason of tickets that are not ACTIVE.
DENIAL_BY_STATUS: Final = {
    TicketStatus.CANCELLED: DenialReason.CANCELLED,
    TicketStatus.REFUNDED: DenialReason.REFUNDED,
    TicketStatus.BLOCKED: DenialReason.BLOCKED,
    TicketStatus.UNKNOWN: DenialReason.UNKNOWN,
}


def decide(event: Event, gate: Gate, presented: PresentedTicket, scan_type: ScanType, check_in: CheckIn) -> Decision:
    """Decide one scan at a gate of `event`.

    `check_in` has the id, time and location of the scan, whatever its type. An admitted check-in stores it in the
    admission state.
    """
    reason = find_denial(event, gate, presented, scan_type, check_in.time)
    if reason is not None:
        return Decision(reason)
    ticket = presented.ticket
    if scan_type is ScanType.CHECK_OUT:
        return _check_out(ticket.admission)
    if scan_type is ScanType.ACCESS:
        return _access(event.policy, ticket.admission)
    return _check_in(event, ticket.admission, check_in)


def find_denial(
    event: Event, gate: Gate, presented: PresentedTicket, scan_type: ScanType, time: datetime
) -> DenialReason | None:
    """Return the reason that denies a scan at `time` whatever the admission state; None where there is none."""
    if presented.ticket.event_id != gate.event_id:
        return DenialReason.WRONG_EVENT
    if scan_type is ScanType.CHECK_OUT:
        return None
    return (
        _event_reason(event, presented)
        or _ticket_reason(presented)
        or _type_reason(gate, presented)
        or _time_reason(event, presented.ticket, time)
    )


def _event_reason(event: Event, presented: PresentedTicket) -> DenialReason | None:
    if event.closed or event.status is EventStatus.CANCELLED:
        return DenialReason.EVENT_CANCELLED
    on_sale = event.status is EventStatus.PUBLISHED or (event.status is EventStatus.DRAFT and presented.by_token)
    return None if on_sale else DenialReason.EVENT_NOT_OPEN


def _ticket_reason(presented: PresentedTicket) -> DenialReason | None:
    if presented.issue < presented.ticket.issue:
        return DenialReason.SUPERSEDED
    return DENIAL_BY_STATUS.get(presented.ticket.status)


def _type_reason(gate: Gate, presented: PresentedTicket) -> DenialReason | None:
    if gate.allowed_types and presented.ticket_type not in gate.allowed_types:
        return DenialReason.TICKET_TYPE_NOT_ALLOWED
    return None


def _time_reason(event: Event, ticket: Ticket, time: datetime) -> DenialReason | None:
    begin, end = ticket.valid_from_time or event.valid_from_time, ticket.valid_until_time or event.valid_until_time
    if begin is not None and time < begin:
        return DenialReason.NOT_YET_VALID
    return DenialReason.EXPIRED if end is not None and time > end else None


def _check_in(event: Event, admission: AdmissionState, check_in: CheckIn) -> Decision:
    was_checked_in = admission.check_in_time is not None
    if _is_used(event, admission, check_in.time):
        return Decision(DenialReason.ALREADY_CHECKED_IN, previous=admission.latest_check_in)
    sequence = admission.sequence if was_checked_in else admission.sequence + 1
    after = AdmissionState(admission.check_in_time or check_in.time, check_in, inside=True, sequence=sequence)
    return Decision(None, admission=after)


def _is_used(event: Event, admission: AdmissionState, time: datetime) -> bool:
    """Return whether the check-ins so far leave no further one at `time`."""
    latest = admission.latest_check_in
    new_day = latest is not None and is_new_day(event, latest.time, time)
    match event.policy:
        case AdmissionPolicy.SINGLE_ENTRY:
            return admission.check_in_time is not None
        case AdmissionPolicy.RE_ENTRY:
            # A check-out forgotten on an earlier day locks nobody out.
            return admission.inside and not new_day
        case AdmissionPolicy.ONCE_PER_DAY:
            return latest is not None and not new_day
        case AdmissionPolicy.UNLIMITED:
            return False


def _check_out(admission: AdmissionState) -> Decision:
    """Admit a check-out of a person who is inside; a single-entry ticket remains used."""
    if not admission.inside:
        return Decision(DenialReason.NOT_CHECKED_IN)
    return Decision(None, admission=replace(admission, inside=False))


def _access(policy: AdmissionPolicy, admission: AdmissionState) -> Decision:
    """Admit a person who is inside to an area of the event; under UNLIMITED, access does not require a check-in."""
    if policy is AdmissionPolicy.UNLIMITED or admission.inside:
        return Decision(None)
    return Decision(DenialReason.NOT_CHECKED_IN)
