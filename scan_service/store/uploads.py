"""The prepared statements of the upload batch, which locks its rows by the statements of the scan batch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from scan_service.store import admission, incidents
from scan_service.store.admission import TicketKey
from scan_service.store.rows import group_row, scan_of
from ticketing.admission.codes import mask_code
from ticketing.admission.scans import Scan
from ticketing.admission.tickets import AdmissionState
from ticketing.chassis.arrays import ids

_REPLACED: Final = (
    "code, verdict, denial_reason, ticket_id, ticket_event_id, ticket_type, issue, scan_time, record_time, location,"
    " device_id, scanner_user_id, offline, annul_time, claimed_annul_time, previous_scan_id, previous_time, previous_location, metadata, doubt,"
    " doubtful_time, looked_up, group_admission"
)

STATEMENTS: Final[Mapping[str, str]] = {
    **admission.STATEMENTS,
    **incidents.STATEMENTS,
    "read_history": """(uuid[], uuid[]) AS
        SELECT to_jsonb(s) FROM unnest($1, $2) AS named(event_id, ticket_id)
        JOIN scans s USING (event_id, ticket_id) WHERE s.verdict = 'ADMITTED'
           OR s.scan_type = 'CHECK_OUT' AND s.denial_reason = 'NOT_CHECKED_IN'""",
    "replace": f"""(jsonb) AS
        UPDATE scans s SET ({_REPLACED}) = (SELECT {", ".join(f"new.{name}" for name in _REPLACED.split(", "))})
        FROM jsonb_populate_recordset(NULL::scans, $1) AS new
        WHERE s.event_id = new.event_id AND s.scan_id = new.scan_id""",  # noqa: S608 - composed of constants
    "remove": """(uuid[], uuid[]) AS
        DELETE FROM scans s USING unnest($1, $2) AS old(event_id, scan_id)
        WHERE s.event_id = old.event_id AND s.scan_id = old.scan_id""",
}


def history_round_trip(keys: Iterable[TicketKey]) -> tuple[str, tuple[str, str]]:
    """Return the round trip that reads the admitted scans and the denied exits of tickets.

    Each key is the gate's event and the ticket.
    """
    listed = list(keys)
    return "EXECUTE read_history(%s, %s)", (ids(event for event, _ in listed), ids(ticket for _, ticket in listed))


def read_history(rows: Iterable[tuple[Any, ...]]) -> Sequence[Scan]:
    """Read the result of `history_round_trip`."""
    return [scan_of(row) for (row,) in rows]


def write_round_trip(
    now: datetime,
    new: Sequence[Scan],
    replaced: Sequence[Scan],
    removed: Sequence[Scan],
    changed: Mapping[TicketKey, AdmissionState],
) -> tuple[str, Sequence[object]]:
    """Return the round trip that records scans and updates the admission state of tickets, without a commit."""
    statements: str = admission.WRITE
    arguments: Sequence[object] = admission.write_arguments(now, new, changed, offline=True)
    if replaced:
        rows = json.dumps([scan_row(scan) for scan in replaced])
        statements, arguments = f"{statements}; EXECUTE replace(%s)", (*arguments, rows)
    if removed:
        keys = (ids([scan.gate_event_id for scan in removed]), ids([scan.scan_id for scan in removed]))
        statements, arguments = f"{statements}; EXECUTE remove(%s, %s)", (*arguments, *keys)
    return statements, arguments


def scan_row(scan: Scan) -> dict[str, object]:
    """Return a scan as a row of `scans` in the form of to_jsonb."""
    previous = scan.previous
    row = {
        "event_id": scan.gate_event_id,
        "scan_id": scan.scan_id,
        "fingerprint": f"\\x{scan.fingerprint.hex()}",
        "code": mask_code(scan.code),
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
        "claimed_annul_time": scan.claimed_annul_time,
        "previous_scan_id": None if previous is None else previous.scan_id,
        "previous_time": None if previous is None else previous.time,
        "previous_location": None if previous is None else previous.location,
        "doubt": scan.violation,
    }
    texts = {name: None if value is None else str(value) for name, value in row.items()}
    marks = {"offline": scan.offline, "doubtful_time": scan.doubtful_time, "looked_up": scan.looked_up}
    return {**texts, **marks, "metadata": scan.metadata, "group_admission": group_row(scan)}
