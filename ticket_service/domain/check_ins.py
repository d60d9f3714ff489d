"""What gates report: which check-in of a ticket stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ticket_service.domain.tickets import TicketStatus

GIVEN_BACK: Final = frozenset({TicketStatus.CANCELLED, TicketStatus.REFUNDED})


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A report of one ticket."""

    event_id: UUID
    ticket_id: UUID
    # None: none stands.
    check_in_time: datetime | None
    # Grows with each change; a report with a lower one is overtaken.
    sequence: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A check-in that cannot be: of a ticket that was given back, or (None) of one nobody sold."""

    check_in: CheckIn
    status: TicketStatus | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of a reported ticket."""

    status: TicketStatus
    sequence: int


def latest(reports: Iterable[CheckIn]) -> list[CheckIn]:
    """Return the last word on each ticket, in the order in which tickets are locked."""
    last: dict[tuple[UUID, UUID], CheckIn] = {}
    for report in reports:
        key = (report.event_id, report.ticket_id)
        if key not in last or report.sequence > last[key].sequence:
            last[key] = report
    return [last[key] for key in sorted(last)]


def judge(reports: Iterable[CheckIn], known: Mapping[tuple[UUID, UUID], Known]) -> tuple[list[CheckIn], list[Conflict]]:
    """Return the reports to apply, and those that cannot be.

    A conflict is told again when it is reported again: the first answer may have been lost.
    """
    applied: list[CheckIn] = []
    conflicts: list[Conflict] = []
    for report in reports:
        ticket = known.get((report.event_id, report.ticket_id))
        if ticket is None or ticket.status in GIVEN_BACK:
            # That no check-in stands contradicts nothing.
            if report.check_in_time is not None:
                conflicts.append(Conflict(report, ticket.status if ticket else None))
        elif report.sequence > ticket.sequence:
            applied.append(report)
    return applied, conflicts
