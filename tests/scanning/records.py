"""Records of scans of one ticket, for tests of the rules that read them."""

import uuid
from typing import Any

from tests.scanning.cases import HERE, MINUTE, NOON
from ticketing.admission.scans import Scan, ScanType, Verdict
from ticketing.admission.tickets import TicketType

TICKET_ID = uuid.UUID(int=3)


def recorded(minute: float, kind: ScanType = ScanType.CHECK_IN, **values: Any) -> Scan:
    """Make the record of an admitted live scan, some minutes after noon; a gate recorded it at once."""
    usual: dict[str, Any] = {
        "scan_id": uuid.uuid4(),
        "gate_event_id": HERE,
        "fingerprint": b"f" * 16,
        "code": "",
        "scan_type": kind,
        "verdict": Verdict.ADMITTED,
        "denial_reason": None,
        "ticket_id": TICKET_ID,
        "event_id": HERE,
        "ticket_type": TicketType.STANDARD,
        "scan_time": NOON + minute * MINUTE,
        "record_time": NOON + minute * MINUTE,
        "location": "North",
        "scanner_user_id": "sam",
        "device_id": "handheld",
        "metadata": {},
    }
    return Scan(**(usual | values))
