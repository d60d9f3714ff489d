"""The prepared statements of the scan batch: they lock and read its rows, create tickets and record scans.

Each statement of a round trip has its own snapshot. So `lock_and_read` reads data at least as new as the locks taken
before it: the locks of the events and, where the tickets are locked first, of the tickets.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scan_service.store.rows import TICKET_COLUMNS, event_of, group_row, scan_of, ticket_of
from ticketing.admission.codes import mask_code
from ticketing.admission.scans import Scan
from ticketing.admission.tickets import AdmissionState, CheckIn, Event, Ticket
from ticketing.chassis.arrays import array, columns, ids, rows_of, times, types

_COLUMNS: Final = ", ".join(f"t.{column}" for column in TICKET_COLUMNS)
_NO_COLUMNS: Final = ", ".join(["NULL"] * len(TICKET_COLUMNS))

# Tickets are found by id and by the digest of a typed code. After a wait for a lock, PostgreSQL returns the new version
# of the row; if a revocation changed the code meanwhile, the row has the new code, and the old code finds no ticket.
_REQUESTED: Final = """
    SELECT * FROM unnest($1, $2) AS named(event_id, ticket_id)
    UNION
    SELECT event_id, ticket_id FROM tickets WHERE code_digest = ANY ($3)
"""
# All tickets of the groups of some tickets, which are found in the same ways. A ticket never changes its purchase.
_GROUPS: Final = """
    UNION
    SELECT further.event_id, further.ticket_id FROM tickets further JOIN (
        SELECT s.event_id, s.purchase_id FROM unnest($4, $5) AS named(event_id, ticket_id)
        JOIN tickets s USING (event_id, ticket_id)
        UNION
        SELECT event_id, purchase_id FROM tickets WHERE code_digest = ANY ($6)
    ) AS scanned USING (event_id, purchase_id)
"""
_TICKETS: Final = """
    FROM ({requested}) AS requested
    JOIN tickets t USING (event_id, ticket_id)
"""
_LOCK: Final = f"""{_TICKETS}
    ORDER BY t.ticket_id
    FOR UPDATE OF t
"""
_LOCK_TICKETS_OF: Final = _LOCK.format(requested=_REQUESTED)
LOCK_GROUPS_OF: Final = _LOCK.format(requested=_REQUESTED + _GROUPS)


def _lock_and_read(lock: str, events: str, scans: str) -> str:
    """Write the query that locks tickets and reads; `events` and `scans` are its parameters."""
    return f"""
        WITH locked AS MATERIALIZED (SELECT {_COLUMNS} {lock})
        SELECT NULL::timestamptz AS time, NULL::jsonb AS event, NULL::jsonb AS scan, locked.* FROM locked
        UNION ALL
        SELECT NULL, to_jsonb(e), NULL, {_NO_COLUMNS} FROM events e WHERE e.event_id = ANY ({events})
        UNION ALL
        SELECT NULL, NULL, to_jsonb(s), {_NO_COLUMNS} FROM scans s WHERE s.scan_id = ANY ({scans})
        UNION ALL
        SELECT clock_timestamp(), NULL, NULL, {_NO_COLUMNS}"""  # noqa: S608 - composed of constants


# The query that reads without a lock.
READ_GROUPS_OF: Final = _lock_and_read(_TICKETS.format(requested=_REQUESTED + _GROUPS), "$7", "$8")

# The columns that a batch records of each scan, and those that it changes of a ticket, in the order of `write_arguments`.
_SCANS: Final = columns("""event_id uuid, scan_id uuid, fingerprint text, code text, scan_type text, verdict text,
    denial_reason text, ticket_id uuid, ticket_event_id uuid, ticket_type text, location text, device_id text,
    scanner_user_id text, previous_scan_id uuid, previous_time timestamptz, previous_location text, metadata jsonb,
    scan_time timestamptz, issue integer, annul_time timestamptz, doubt text, claimed_annul_time timestamptz,
    doubtful_time boolean, looked_up boolean, group_admission jsonb""")
_CHANGED: Final = columns("""event_id uuid, ticket_id uuid, check_in_time timestamptz, entry_scan_id uuid,
    entry_time timestamptz, entry_location text, inside boolean, sequence bigint""")
_STORED: Final = {
    "fingerprint": "decode(fingerprint, 'hex')",
    "doubtful_time": "coalesce(doubtful_time, false)",
    "looked_up": "coalesce(looked_up, false)",
}

STATEMENTS: Final[Mapping[str, str]] = {
    "lock_events": "(uuid[]) AS SELECT FROM events WHERE event_id = ANY ($1) ORDER BY event_id FOR SHARE",
    "lock_tickets": f"(uuid[], uuid[], bytea[]) AS SELECT {_LOCK_TICKETS_OF}",
    "lock_groups": f"(uuid[], uuid[], bytea[], uuid[], uuid[], bytea[]) AS SELECT {LOCK_GROUPS_OF}",
    "create_tickets": """(uuid[], uuid[], text[], integer[], bytea[]) AS
        INSERT INTO tickets (event_id, ticket_id, known, ticket_type, status, issue, code_digest, generation, revision,
                             inside, sequence, reported_sequence)
        SELECT event_id, ticket_id, false, ticket_type, 'ACTIVE', issue, code_digest, 0, 0, false, 0, 0
        FROM unnest($1, $2, $3, $4, $5) AS new(event_id, ticket_id, ticket_type, issue, code_digest)
        ORDER BY ticket_id
        ON CONFLICT DO NOTHING""",
    # One statement locks the tickets and reads. A statement takes 0.4 ms however few its rows are: with a separate
    # statement that locked the tickets first, 16 devices got a tenth fewer answers. If another process recorded a scan
    # while this statement waited for its ticket, the snapshot does not contain that scan. A second record of the scan
    # violates the primary key, and the batch runs again. Work that changes recorded scans locks the tickets first.
    # The last row is evaluated after the locks, so the times of two transactions have the order of their locks.
    "lock_and_read": f"(uuid[], uuid[], bytea[], uuid[], uuid[]) AS {_lock_and_read(_LOCK_TICKETS_OF, '$4', '$5')}",
    # Batches in which a group is scanned: a further join would slow all others.
    "lock_and_read_groups": f"""(uuid[], uuid[], bytea[], uuid[], uuid[], bytea[], uuid[], uuid[]) AS
        {_lock_and_read(LOCK_GROUPS_OF, "$7", "$8")}""",
    # Only uploads have annulments, violations (`doubt`) and doubtful times, and few batches have denials, earlier
    # check-ins, looked-up tickets or groups; unnest fills shorter arrays with NULL.
    "write": f"""(timestamptz, boolean, {types(_SCANS)}, {types(_CHANGED)}) AS
        WITH changed AS (
            UPDATE tickets t
            SET check_in_time = new.check_in_time, entry_scan_id = new.entry_scan_id, entry_time = new.entry_time,
                entry_location = new.entry_location, inside = new.inside, sequence = new.sequence,
                changed_by = (pg_current_xact_id()::text)::bigint
            FROM ({rows_of(_CHANGED, 3 + len(_SCANS))}) AS new
            WHERE t.event_id = new.event_id AND t.ticket_id = new.ticket_id
        )
        INSERT INTO scans (record_time, offline, {", ".join(_SCANS)})
        SELECT $1, $2, {", ".join(_STORED.get(column, column) for column in _SCANS)}
        FROM ({rows_of(_SCANS, 3)}) AS new
        ORDER BY scan_id""",  # noqa: S608 - composed of constants
}

_LOCK_EVENTS: Final = "BEGIN; EXECUTE lock_events(%s)"
_LOCK_TICKETS: Final = "EXECUTE lock_tickets(%s, %s, %s)"
_LOCK_AND_READ: Final = "EXECUTE lock_and_read(%s, %s, %s, %s, %s)"
_LOCK_GROUPS: Final = "EXECUTE lock_groups(%s, %s, %s, %s, %s, %s)"
_LOCK_AND_READ_GROUPS: Final = "EXECUTE lock_and_read_groups(%s, %s, %s, %s, %s, %s, %s, %s)"
# The insert has a transaction of its own: after locks on other rows, it would violate the lock order.
_CREATE: Final = "ROLLBACK; BEGIN; {limit}EXECUTE create_tickets(%s, %s, %s, %s, %s); COMMIT"
WRITE: Final = f"EXECUTE write({', '.join(['%s'] * (2 + len(_SCANS) + len(_CHANGED)))})"

# An event id and a ticket id.
TicketKey = tuple[UUID, UUID]
WriteArguments = tuple[str | bool, ...]


@dataclass(frozen=True, slots=True)
class LockRequest:
    """The keys of the rows that a batch locks and reads."""

    events: Iterable[UUID]
    tickets: Sequence[TicketKey]
    code_digests: Iterable[bytes]
    scans: Iterable[UUID]
    # The tickets, by id or by code, whose whole groups are locked.
    groups: Sequence[TicketKey] = ()
    group_digests: Collection[bytes] = ()

    def round_trip(self, *, lock_first: bool) -> tuple[str, tuple[str, ...]]:
        """Return the round trip that begins the transaction, locks and reads.

        With `lock_first`, the snapshot of the reads is taken after all tickets are locked, not before.
        """
        events = ids(self.events)
        if self.groups or self.group_digests:
            tickets = self.ticket_arguments()
            lock, lock_and_read = _LOCK_GROUPS, _LOCK_AND_READ_GROUPS
        else:
            tickets = _ticket_arguments(self.tickets, self.code_digests)
            lock, lock_and_read = _LOCK_TICKETS, _LOCK_AND_READ
        keys = (*tickets, events, ids(self.scans))
        if lock_first:
            return f"{_LOCK_EVENTS}; {lock}; {lock_and_read}", (events, *tickets, *keys)
        return f"{_LOCK_EVENTS}; {lock_and_read}", (events, *keys)

    def ticket_arguments(self) -> tuple[str, ...]:
        """Return the arguments that name the tickets and the groups."""
        return (
            *_ticket_arguments(self.tickets, self.code_digests),
            *_ticket_arguments(self.groups, self.group_digests),
        )


def _ticket_arguments(keys: Sequence[TicketKey], digests: Iterable[bytes]) -> tuple[str, ...]:
    return (
        ids([event_id for event_id, _ in keys]),
        ids([ticket_id for _, ticket_id in keys]),
        array(f"\\x{digest.hex()}" for digest in digests),
    )


@dataclass(frozen=True, slots=True)
class LockedRows:
    """The events and tickets that a batch has locked, and the scans recorded before it."""

    # The time of the database at which the batch had locked its rows.
    lock_time: datetime
    events: dict[UUID, Event] = field(default_factory=dict)
    tickets: dict[TicketKey, Ticket] = field(default_factory=dict)
    keys_by_code: dict[bytes, TicketKey] = field(default_factory=dict)
    scans: dict[UUID, Scan] = field(default_factory=dict)


def read_locked_rows(rows: Iterable[tuple[Any, ...]]) -> LockedRows:
    """Read the result of `LockRequest.round_trip`."""
    read = list(rows)
    result = LockedRows(lock_time=read.pop()[0])
    for _, event, scan, *ticket_row in read:
        if event is not None:
            result.events[UUID(event["event_id"])] = event_of(event)
        elif scan is not None:
            result.scans[UUID(scan["scan_id"])] = scan_of(scan)
        else:
            ticket = ticket_of(tuple(ticket_row))
            key = (ticket.event_id, ticket.ticket_id)
            result.tickets[key] = ticket
            result.keys_by_code[ticket.code_digest] = key
    return result


def create_tickets(tickets: Sequence[Ticket], lock_milliseconds: int | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the round trip that rolls back and inserts tickets that the feed has not delivered yet.

    The insert waits for unfinished inserts of the same tickets: `lock_milliseconds`, or the lock_timeout of the session.
    """
    limit = "" if lock_milliseconds is None else f"SET LOCAL lock_timeout = {lock_milliseconds}; "
    return _CREATE.format(limit=limit), (
        ids(ticket.event_id for ticket in tickets),
        ids(ticket.ticket_id for ticket in tickets),
        array(ticket.ticket_type for ticket in tickets),
        array(ticket.issue for ticket in tickets),
        array(f"\\x{ticket.code_digest.hex()}" for ticket in tickets),
    )


def write_and_commit(
    now: datetime, scans: Sequence[Scan], changed: Mapping[TicketKey, AdmissionState]
) -> tuple[str, WriteArguments]:
    """Return the round trip that records live scans, updates the admission state of tickets and commits."""
    return f"{WRITE}; COMMIT", write_arguments(now, scans, changed)


def write_arguments(
    now: datetime, scans: Sequence[Scan], changed: Mapping[TicketKey, AdmissionState], *, offline: bool = False
) -> WriteArguments:
    """Return the arguments of WRITE."""
    return (
        now.isoformat(),
        offline,
        ids([scan.gate_event_id for scan in scans]),
        ids([scan.scan_id for scan in scans]),
        array([scan.fingerprint.hex() for scan in scans]),
        array([mask_code(scan.code) for scan in scans]),
        array([scan.scan_type for scan in scans]),
        array([scan.verdict for scan in scans]),
        array([scan.denial_reason for scan in scans] if any(scan.denial_reason for scan in scans) else []),
        ids([scan.ticket_id for scan in scans]),
        ids([scan.event_id for scan in scans]),
        array([scan.ticket_type for scan in scans]),
        array([scan.location for scan in scans]),
        array([scan.device_id for scan in scans]),
        array([scan.scanner_user_id for scan in scans]),
        *_check_ins([scan.previous for scan in scans]),
        array([json.dumps(scan.metadata) if scan.metadata else "{}" for scan in scans]),
        times([scan.scan_time for scan in scans]),
        array([scan.issue for scan in scans]),
        times([scan.annul_time for scan in scans] if offline else []),
        array([scan.violation for scan in scans] if offline else []),
        times([scan.claimed_annul_time for scan in scans] if offline else []),
        array([scan.doubtful_time for scan in scans] if offline else []),
        array([scan.looked_up for scan in scans] if any(scan.looked_up for scan in scans) else []),
        array(_group_admissions(scans)),
        ids([event_id for event_id, _ in changed]),
        ids([ticket_id for _, ticket_id in changed]),
        times([admission.check_in_time for admission in changed.values()]),
        *_check_ins([admission.latest_check_in for admission in changed.values()]),
        array([admission.inside for admission in changed.values()]),
        array([admission.sequence for admission in changed.values()]),
    )


def _group_admissions(scans: Sequence[Scan]) -> Sequence[str | None]:
    if all(scan.group is None and scan.group_scan_id is None for scan in scans):
        return []
    return [None if (row := group_row(scan)) is None else json.dumps(row) for scan in scans]


def _check_ins(check_ins: Sequence[CheckIn | None]) -> tuple[str, str, str]:
    if not any(check_ins):
        return "{}", "{}", "{}"
    return (
        ids([None if check_in is None else check_in.scan_id for check_in in check_ins]),
        times([None if check_in is None else check_in.time for check_in in check_ins]),
        array([None if check_in is None else check_in.location for check_in in check_ins]),
    )
