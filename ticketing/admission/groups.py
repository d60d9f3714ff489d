"""The rules for a group that is admitted by one scan with a count: as many tickets as people, or none.

The scanned ticket has to be admitted itself, so that a copy of a used ticket opens nothing. The further ones are GROUP
tickets of the same purchase that `decide` admits, in the order of their ids. Under UNLIMITED, which admits a ticket any
number of times, those that are inside already come last.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ticketing.admission.decision import Decision, PresentedTicket, decide
from ticketing.admission.scans import DenialReason, Gate, GroupAdmission, ScanType, group_scan_id
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
    CheckIn,
    Event,
    Ticket,
    TicketStatus,
    TicketType,
)


@dataclass(frozen=True, slots=True)
class GroupDecision:
    """The decision on the scan of a group."""

    # The decision on the scanned ticket; its reason is that of the whole group.
    decision: Decision
    group: GroupAdmission
    # The further tickets that are admitted, each with its admission state after the scan.
    further: Sequence[tuple[Ticket, AdmissionState]] = ()


def decide_group(  # noqa: PLR0913 - the arguments of `decide`, and the group
    event: Event, gate: Gate, presented: PresentedTicket, check_in: CheckIn, *, others: Iterable[Ticket], count: int
) -> GroupDecision:
    """Decide the scan of `count` people; `others` are the further tickets of the purchase that the decider knows.

    `check_in` has the id of the scan. The check-in of each further ticket has an id that is derived from it.
    """

    def judge(ticket: Ticket, index: int) -> Decision:
        further = replace(presented, ticket=ticket, issue=ticket.issue, ticket_type=ticket.ticket_type)
        own = replace(check_in, scan_id=group_scan_id(check_in.scan_id, index))
        return decide(event, gate, further, ScanType.CHECK_IN, own)

    own = decide(event, gate, presented, ScanType.CHECK_IN, check_in)
    if presented.ticket_type is not TicketType.GROUP and own.reason is None:
        own = Decision(DenialReason.NOT_A_GROUP)
    if presented.ticket_type is not TicketType.GROUP or own.reason is DenialReason.WRONG_EVENT:
        return GroupDecision(own, GroupAdmission(count))
    group = sorted((ticket for ticket in others if is_same_group(ticket, presented.ticket)), key=_id)
    free = [ticket for ticket in group if judge(ticket, 0).reason is None]
    if event.policy is AdmissionPolicy.UNLIMITED:
        free.sort(key=_is_inside)
    places = len(free) + (own.reason is None)
    if own.reason is None and places < count:
        own = Decision(DenialReason.GROUP_TOO_SMALL)
    further = list[tuple[Ticket, AdmissionState]]()
    if own.reason is None:
        for index, ticket in enumerate(free[: count - 1], start=1):
            if (admission := judge(ticket, index).admission) is None:
                raise AssertionError("an admitted check-in changes the admission state")
            further.append((ticket, admission))
    after = {ticket.ticket_id: replace(ticket, admission=admission) for ticket, admission in further}
    scanned = presented.ticket if own.admission is None else replace(presented.ticket, admission=own.admission)
    members = [scanned, *(after.get(ticket.ticket_id, ticket) for ticket in group)]
    admitted = () if own.reason else (scanned.ticket_id, *after)
    counts = GroupAdmission(
        count=count,
        ticket_ids=admitted,
        left=places if event.policy is AdmissionPolicy.UNLIMITED else places - len(admitted),
        inside=sum(ticket.admission.inside for ticket in members),
        size=sum(_counts(ticket) for ticket in members),
    )
    return GroupDecision(own, counts, further)


def is_same_group(ticket: Ticket, scanned: Ticket) -> bool:
    """Return whether a ticket is a further one of the scanned ticket's group."""
    return (
        ticket.ticket_type is TicketType.GROUP
        and ticket.purchase_id is not None
        and (ticket.event_id, ticket.purchase_id) == (scanned.event_id, scanned.purchase_id)
        and ticket.ticket_id != scanned.ticket_id
    )


def _id(ticket: Ticket) -> bytes:
    return ticket.ticket_id.bytes


def _is_inside(ticket: Ticket) -> bool:
    return ticket.admission.inside


def _counts(ticket: Ticket) -> bool:
    return ticket.status is TicketStatus.ACTIVE or ticket.admission.check_in_time is not None
