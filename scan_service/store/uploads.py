"""The statements of uploads; what they lock and how is that of the admission batch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from scan_service.store import admission, incidents
from scan_service.store.admission import TicketKey
from scan_service.store.rows import scan_of
from ticketing.admission.codes import covered
from ticketing.admission.scans import Scan
from ticketing.admission.tickets import Admission
from ticketing.chassis.arrays import ids

_REPLACED: Final = (
    "code, verdict, denial_reason, ticket_id, ticket_event_id, ticket_type, issue, scan_time, record_time, location,"
    " device_id, scanner_user_id, offline, annul_time, previous_scan_id, previous_time, previous_location, metadata, doubt"
)

STATEMENTS: Final[Mapping[str, str]] = {
    **admission.STATEMENTS,
    **incidents.STATEMENTS,
    "read_admitted": """(uuid[], uuid[]) AS
        SELECT to_jsonb(s) FROM unnest($1, $2) AS named(event_id, ticket_id)
        JOIN scans s USING (event_id, ticket_id) WHERE s.verdict = 'ADMITTED'""",
    "replace": f"""(jsonb) AS
        UPDATE scans s SET ({_REPLACED}) = (SELECT {", ".join(f"new.{name}" for name in _REPLACED.split(", "))})
        FROM jsonb_populate_recordset(NULL::scans, $1) AS new
        WHERE s.event_id = new.event_id AND s.scan_id = new.scan_id""",  # noqa: S608 - put together of constants
}


def read_admitted(keys: Iterable[TicketKey]) -> tuple[str, tuple[str, str]]:
    """Return the trip that reads what tickets were let through by, by the gate's event and the ticket."""
    named = sorted(keys)
    return "EXECUTE read_admitted(%s, %s)", (ids(event for event, _ in named), ids(ticket for _, ticket in named))


def admitted(rows: Iterable[tuple[Any, ...]]) -> Sequence[Scan]:
    """Read what that trip brought."""
    return [scan_of(row) for (row,) in rows]


def write(
    now: datetime, new: Sequence[Scan], replaced: Sequence[Scan], admission_state: Mapping[TicketKey, Admission]
) -> tuple[str, Sequence[object]]:
    """Return the trip that records scans and how tickets stand since; the transaction is still open."""
    statements, arguments = admission.WRITE, admission.written(now, new, admission_state, offline=True)
    if not replaced:
        return statements, arguments
    rows = json.dumps([_scan_row(scan) for scan in replaced])
    return f"{statements}; EXECUTE replace(%s)", (*arguments, rows)


def _scan_row(scan: Scan) -> dict[str, object]:
    previous = scan.previous
    row = {
        "event_id": scan.gate_event_id,
        "scan_id": scan.scan_id,
        "fingerprint": f"\\x{scan.fingerprint.hex()}",
        "code": covered(scan.code),
        "scan_type": scan.scan_type,
        "verdict": scan.verdict,
        "denial_reason": scan.denial_reason,
        "ticket_id": scan.ticket_id,
        "ticket_event_id": scan.event_id,
        "ticket_type": scan.ticket_type,
        "issue": scan.issue,
        "scan_time": scan.scan_time,
        "record_time": scan.record_time,
        "location": scan.location,
        "device_id": scan.device_id,
        "scanner_user_id": scan.scanner_user_id,
        "annul_time": scan.annul_time,
        "previous_scan_id": None if previous is None else previous.scan_id,
        "previous_time": None if previous is None else previous.time,
        "previous_location": None if previous is None else previous.location,
        "doubt": scan.violation,
    }
    return _texts(row) | {"offline": scan.offline, "metadata": scan.metadata}


def _texts(row: Mapping[str, object]) -> dict[str, object]:
    return {name: None if value is None else str(value) for name, value in row.items()}
