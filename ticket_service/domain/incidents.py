"""What gates report beside check-ins: incidents, which the scan service notices and this side only passes on."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Incident:
    """A report of one incident."""

    event_id: UUID
    incident_id: UUID
    # The contract's name of it; no enum, for a newer scan service may know more of them.
    kind: str
    # None: none is known.
    ticket_id: UUID | None
    # When it was noticed.
    create_time: datetime
    # How many scans were involved by then, and where the latest of them was made.
    scan_count: int
    location: str


def of_known_events(
    reports: Iterable[Incident], known: Collection[UUID]
) -> tuple[dict[tuple[UUID, UUID], Incident], list[Incident]]:
    """Return what can be told, once each by event and incident, and what cannot: nobody is there to be told of it."""
    here: dict[tuple[UUID, UUID], Incident] = {}
    elsewhere: list[Incident] = []
    for report in reports:
        if report.event_id in known:
            here[report.event_id, report.incident_id] = report
        else:
            elsewhere.append(report)
    return here, elsewhere
