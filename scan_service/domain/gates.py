"""The opening of a gate."""

from dataclasses import dataclass
from datetime import datetime

from scan_service.domain.recoveries import Resend


@dataclass(frozen=True, slots=True)
class GateOpening:
    """The event as an opened gate shows it, and the age of the replica of its tickets."""

    event_name: str
    organizer_id: str
    # The last time at which the replica was known to be complete; None: it never was.
    complete_time: datetime | None
    # The time of the service.
    open_time: datetime
    # None: the device has no scans to send again.
    resend: Resend | None = None
