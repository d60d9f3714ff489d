"""Names of holders: the scans whose ticket's name a caller may read."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.admission.scans import Scan

# A display shows an answer for seconds; a list of names would need a scan of each ticket.
MAX_AGE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class HolderRequest:
    """A gate's request for the name of the holder of the ticket that it scanned."""

    event_id: UUID
    scan_id: UUID
    # The device, or else the person or program, as in the record of a scan.
    device_id: str
    scanner_user_id: str
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None

    def is_for(self, scan: Scan, now: datetime) -> bool:
        """Return whether the caller scanned this live and lately; an upload may name any ticket."""
        own = (scan.device_id, scan.scanner_user_id) == (self.device_id, self.scanner_user_id)
        return own and not scan.offline and now - scan.record_time < MAX_AGE
