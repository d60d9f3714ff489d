"""The statements of uploads; what they lock and how is that of the admission batch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chassis.arrays import ids
from scan_service.domain.codes import covered
from scan_service.domain.scans import Scan
from scan_service.domain.tickets import Admission
from scan_service.store import admission, incidents
from scan_service.store.admission import TicketKey
from scan_service.store.rows import scan_of

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
    "record": """(jsonb) AS
        INSERT INTO scans SELECT * FROM jsonb_populate_recordset(NULL::scans, $1) ORDER BY scan_id""",
    "replace": f"""(jsonb) AS
        UPDATE scans s SET ({_REPLACED}) = (SELECT {", ".join(f"new.{name}" for name in _REPLACED.split(", "))})
        FROM jsonb_populate_recordset(NULL::scans, $1) AS new
        WHERE s.event_id = new.event_id AND s.scan_id = new.scan_id""",  # noqa: S608 - put together of constants
    "stand": """(jsonb) AS
        UPDATE tickets t
        SET check_in_time = new.check_in_time, entry_scan_id = new.entry_scan_id, entry_time = new.entry_time,
            entry_location = new.entry_location, inside = new.inside, sequence = new.sequence,
            changed_by = (pg_current_xact_id()::text)::bigint
        FROM jsonb_to_recordset($1) AS new(
            event_id uuid, ticket_id uuid, check_in_time timestamptz, entry_scan_id uuid, entry_time timestamptz,
            entry_location text, inside boolean, sequence bigint)
        WHERE t.event_id = new.event_id AND t.ticket_id = new.ticket_id""",
}

_WRITE: Final = "EXECUTE record(%s); EXECUTE replace(%s); EXECUTE stand(%s)"


def read_admitted(keys: Iterable[TicketKey]) -> tuple[str, tuple[str, str]]:
    """Return the trip that reads what tickets were let through by, by the gate's event and the ticket."""
    named = sorted(keys)
    return "EXECUTE read_admitted(%s, %s)", (ids(event for event, _ in named), ids(ticket for _, ticket in named))


def admitted(rows: Iterable[tuple[Any, ...]]) -> Sequence[Scan]:
    """Read what that trip brought."""
    return [scan_of(row) for (row,) in rows]


def write(
    new: Iterable[Scan], replaced: Iterable[Scan], standing: Mapping[TicketKey, Admission]
) -> tuple[str, tuple[str, ...]]:
    """Return the trip that records scans and how tickets stand since; the transaction is still open."""
    return _WRITE, (
        json.dumps([_scan_row(scan) for scan in new]),
        json.dumps([_scan_row(scan) for scan in replaced]),
        json.dumps([_admission_row(key, admission) for key, admission in standing.items()]),
    )


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
        "doubt": scan.doubt,
    }
    return _texts(row) | {"offline": scan.offline, "metadata": scan.metadata}


def _admission_row(key: TicketKey, admission: Admission) -> dict[str, object]:
    entry = admission.entry
    row = {
        "event_id": key[0],
        "ticket_id": key[1],
        "check_in_time": admission.check_in_time,
        "entry_scan_id": None if entry is None else entry.scan_id,
        "entry_time": None if entry is None else entry.time,
        "entry_location": None if entry is None else entry.location,
    }
    return _texts(row) | {"inside": admission.inside, "sequence": admission.sequence}


def _texts(row: Mapping[str, object]) -> dict[str, object]:
    return {name: None if value is None else str(value) for name, value in row.items()}
