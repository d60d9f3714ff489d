"""The statements of the admission batch, prepared on its connection, and what they bring.

Each statement of a trip has a snapshot of its own, so what HOLD sees is at least as new as the locks taken before it: those
of events, and those of tickets where they are locked first.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scan_service.store.rows import TICKET_COLUMNS, event_of, scan_of, ticket_of
from ticketing.admission.codes import covered
from ticketing.admission.scans import Scan
from ticketing.admission.tickets import Admission, Entry, Event, Ticket
from ticketing.chassis.arrays import array, ids, times

_COLUMNS: Final = ", ".join(f"t.{column}" for column in TICKET_COLUMNS)
_NO_COLUMNS: Final = ", ".join(["NULL"] * len(TICKET_COLUMNS))

# By id, and by the digest of a typed code. A row that we waited for comes back as it is after the wait; if its code changed
# meanwhile, with the new one, so that the old code finds nothing.
_LOCK: Final = """
    FROM (
        SELECT * FROM unnest($1, $2) AS named(event_id, ticket_id)
        UNION
        SELECT event_id, ticket_id FROM tickets WHERE code_digest = ANY ($3)
    ) AS wanted
    JOIN tickets t USING (event_id, ticket_id)
    ORDER BY t.ticket_id
    FOR UPDATE OF t
"""

STATEMENTS: Final[Mapping[str, str]] = {
    "lock_events": "(uuid[]) AS SELECT FROM events WHERE event_id = ANY ($1) ORDER BY event_id FOR SHARE",
    "lock_tickets": f"(uuid[], uuid[], bytea[]) AS SELECT {_LOCK}",
    "create_tickets": """(uuid[], uuid[], text[], integer[], bytea[]) AS
        INSERT INTO tickets (event_id, ticket_id, known, ticket_type, status, issue, code_digest, generation, revision,
                             inside, sequence, reported_sequence)
        SELECT event_id, ticket_id, false, ticket_type, 'ACTIVE', issue, code_digest, 0, 0, false, 0, 0
        FROM unnest($1, $2, $3, $4, $5) AS new(event_id, ticket_id, ticket_type, issue, code_digest)
        ORDER BY ticket_id
        ON CONFLICT DO NOTHING""",
    # A statement takes 0.4 ms however few its rows are: with tickets locked by one of their own before it, 16 devices got a
    # tenth fewer answers. A scan that another process recorded while we waited for its ticket is not seen, though: it breaks
    # the key when it is recorded again, and the batch is run again. Who changes what was recorded is to lock first.
    "hold": f"""(uuid[], uuid[], bytea[], uuid[], uuid[]) AS
        WITH held AS MATERIALIZED (SELECT {_COLUMNS} {_LOCK})
        SELECT NULL::jsonb AS event, NULL::jsonb AS scan, held.* FROM held
        UNION ALL
        SELECT to_jsonb(e), NULL, {_NO_COLUMNS} FROM events e WHERE e.event_id = ANY ($4)
        UNION ALL
        SELECT NULL, to_jsonb(s), {_NO_COLUMNS} FROM scans s WHERE s.scan_id = ANY ($5)""",  # noqa: S608 - put together of constants
    # Times of annulment and doubts come with uploads alone: an array that is too short is NULL from its end on.
    "write": """(timestamptz, boolean,
                 uuid[], uuid[], text[], text[], text[], text[], text[], uuid[], uuid[], text[],
                 text[], text[], text[], uuid[], timestamptz[], text[], jsonb[], timestamptz[], integer[],
                 timestamptz[], text[],
                 uuid[], uuid[], timestamptz[], uuid[], timestamptz[], text[], boolean[], bigint[]) AS
        WITH changed AS (
            UPDATE tickets t
            SET check_in_time = new.check_in_time, entry_scan_id = new.entry_scan_id, entry_time = new.entry_time,
                entry_location = new.entry_location, inside = new.inside, sequence = new.sequence,
                changed_by = (pg_current_xact_id()::text)::bigint
            FROM unnest($24, $25, $26, $27, $28, $29, $30, $31)
                AS new(event_id, ticket_id, check_in_time, entry_scan_id, entry_time, entry_location, inside, sequence)
            WHERE t.event_id = new.event_id AND t.ticket_id = new.ticket_id
        )
        INSERT INTO scans (event_id, scan_id, fingerprint, code, scan_type, verdict, denial_reason, ticket_id,
                           ticket_event_id, ticket_type, location, device_id, scanner_user_id, previous_scan_id,
                           previous_time, previous_location, metadata, scan_time, issue, annul_time, doubt,
                           record_time, offline)
        SELECT event_id, scan_id, decode(fingerprint, 'hex'), code, scan_type, verdict, denial_reason, ticket_id,
               ticket_event_id, ticket_type, location, device_id, scanner_user_id, previous_scan_id, previous_time,
               previous_location, metadata, scan_time, issue, annul_time, doubt, $1, $2
        FROM unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
            AS new(event_id, scan_id, fingerprint, code, scan_type, verdict, denial_reason, ticket_id, ticket_event_id,
                   ticket_type, location, device_id, scanner_user_id, previous_scan_id, previous_time,
                   previous_location, metadata, scan_time, issue, annul_time, doubt)
        ORDER BY scan_id""",
}

_LOCK_EVENTS: Final = "BEGIN; EXECUTE lock_events(%s)"
_LOCK_TICKETS: Final = "EXECUTE lock_tickets(%s, %s, %s)"
_HOLD: Final = "EXECUTE hold(%s, %s, %s, %s, %s)"
# Created in a transaction of its own: inserted among rows already locked, they would break the order of locks.
_CREATE: Final = "ROLLBACK; BEGIN; EXECUTE create_tickets(%s, %s, %s, %s, %s); COMMIT"
WRITE: Final = f"EXECUTE write({', '.join(['%s'] * 31)})"

TicketKey = tuple[UUID, UUID]
Written = tuple[str | bool, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a batch needs to hold."""

    events: Iterable[UUID]
    # (event_id, ticket_id).
    tickets: Sequence[TicketKey]
    code_digests: Iterable[bytes]
    scans: Iterable[UUID]

    def hold(self, *, lock_first: bool) -> tuple[str, tuple[str, ...]]:
        """Return the trip that begins the transaction, locks and reads.

        Args:
            lock_first: see what was recorded until all tickets were locked; not only until that began.
        """
        events = ids(self.events)
        tickets = (
            ids([event_id for event_id, _ in self.tickets]),
            ids([ticket_id for _, ticket_id in self.tickets]),
            array(f"\\x{digest.hex()}" for digest in self.code_digests),
        )
        held = (*tickets, events, ids(self.scans))
        if lock_first:
            return f"{_LOCK_EVENTS}; {_LOCK_TICKETS}; {_HOLD}", (events, *tickets, *held)
        return f"{_LOCK_EVENTS}; {_HOLD}", (events, *held)


@dataclass(frozen=True, slots=True)
class LockedRows:
    """What a batch holds locked, and the scans that were recorded before."""

    events: dict[UUID, Event] = field(default_factory=dict)
    tickets: dict[TicketKey, Ticket] = field(default_factory=dict)
    keys_by_code: dict[bytes, TicketKey] = field(default_factory=dict)
    scans: dict[UUID, Scan] = field(default_factory=dict)


def held(rows: Iterable[tuple[Any, ...]]) -> LockedRows:
    """Read what the `hold` trip brought."""
    result = LockedRows()
    for event, scan, *columns in rows:
        if event is not None:
            result.events[UUID(event["event_id"])] = event_of(event)
        elif scan is not None:
            result.scans[UUID(scan["scan_id"])] = scan_of(scan)
        else:
            ticket = ticket_of(tuple(columns))
            key = (ticket.event_id, ticket.ticket_id)
            result.tickets[key] = ticket
            result.keys_by_code[ticket.code_digest] = key
    return result


def create(tickets: Sequence[Ticket]) -> tuple[str, tuple[str, ...]]:
    """Return the trip that gives up what is held and makes rows for tickets that the feed has not brought yet."""
    return _CREATE, (
        ids(ticket.event_id for ticket in tickets),
        ids(ticket.ticket_id for ticket in tickets),
        array(ticket.ticket_type for ticket in tickets),
        array(ticket.issue for ticket in tickets),
        array(f"\\x{ticket.code_digest.hex()}" for ticket in tickets),
    )


def write(now: datetime, scans: Sequence[Scan], changed: Mapping[TicketKey, Admission]) -> tuple[str, Written]:
    """Return the trip that records live scans, changes tickets and commits."""
    return f"{WRITE}; COMMIT", written(now, scans, changed)


def written(
    now: datetime, scans: Sequence[Scan], changed: Mapping[TicketKey, Admission], *, offline: bool = False
) -> Written:
    """Return the arguments of WRITE."""
    return (
        now.isoformat(),
        offline,
        ids([scan.gate_event_id for scan in scans]),
        ids([scan.scan_id for scan in scans]),
        array([scan.fingerprint.hex() for scan in scans]),
        array([covered(scan.code) for scan in scans]),
        array([scan.scan_type for scan in scans]),
        array([scan.verdict for scan in scans]),
        array([scan.denial_reason for scan in scans]),
        ids([scan.ticket_id for scan in scans]),
        ids([scan.event_id for scan in scans]),
        array([scan.ticket_type for scan in scans]),
        array([scan.location for scan in scans]),
        array([scan.device_id for scan in scans]),
        array([scan.scanner_user_id for scan in scans]),
        *_entries([scan.previous for scan in scans]),
        array([json.dumps(scan.metadata) if scan.metadata else "{}" for scan in scans]),
        times([scan.scan_time for scan in scans]),
        array([scan.issue for scan in scans]),
        times([scan.annul_time for scan in scans] if offline else []),
        array([scan.violation for scan in scans] if offline else []),
        ids([event_id for event_id, _ in changed]),
        ids([ticket_id for _, ticket_id in changed]),
        times([admission.check_in_time for admission in changed.values()]),
        *_entries([admission.entry for admission in changed.values()]),
        array([admission.inside for admission in changed.values()]),
        array([admission.sequence for admission in changed.values()]),
    )


def _entries(entries: Sequence[Entry | None]) -> tuple[str, str, str]:
    """Write entries as three columns."""
    return (
        ids([None if entry is None else entry.scan_id for entry in entries]),
        times([None if entry is None else entry.time for entry in entries]),
        array([None if entry is None else entry.location for entry in entries]),
    )
