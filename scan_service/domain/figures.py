"""The figures of the whole database that the metrics show."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scan_service.domain.incidents import IncidentKind


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures at one moment."""

    # The last time at which the replica was known to be complete; None: never.
    complete_time: datetime | None
    # The devices with an open stream, and those that are enrolled and not revoked.
    connected_devices: int
    enrolled_devices: int
    # Reports that the ticket service has not confirmed.
    unreported_check_ins: int
    unreported_incidents: int
    # The incidents of events that have not ended, or ended less than a day ago.
    incidents: Mapping[IncidentKind, int]
