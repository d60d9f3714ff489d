"""Incidents that the scan service reports; this service passes them on as notifications."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Incident:
    """A report of one incident."""

    event_id: UUID
    incident_id: UUID
    # The contract's name. The kind is no enum, because a newer scan service may send more kinds.
    kind: str
    # None: the ticket is unknown.
    ticket_id: UUID | None
    # The time when the scan service recorded the incident.
    create_time: datetime
    # The number of the incident's scans, and the location of the latest one.
    scan_count: int
    location: str


def divide_by_event(
    reports: Iterable[Incident], known: Collection[UUID]
) -> tuple[dict[tuple[UUID, UUID], Incident], list[Incident]]:
    """Return the reports of known events, each once by event and incident, and those of unknown events.

    An unknown event has no organizer to notify.
    """
    here: dict[tuple[UUID, UUID], Incident] = {}
    elsewhere: list[Incident] = []
    for report in reports:
        if report.event_id in known:
            here[report.event_id, report.incident_id] = report
        else:
            elsewhere.append(report)
    return here, elsewhere
