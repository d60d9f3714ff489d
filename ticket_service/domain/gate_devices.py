"""Gate devices, which the scan service reports so that it gets them back after a restore of its database."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class GateDevice:
    """A gate device of the scan service."""

    device_id: UUID
    # The time when the device was last created, enrolled or revoked.
    update_time: datetime
    # A text that only the scan service reads.
    state: str
