"""The prepared statements of a batch that waits for no row: it locks the free rows and skips the others.

Locking and reading are separate statements, because a statement that skips a row cannot return it: a requested row that
is read and was not locked is locked by another session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from scan_service.store.admission import (
    LOCK_GROUPS_OF,
    READ_GROUPS_OF,
    LockedRows,
    LockRequest,
    TicketKey,
    read_locked_rows,
)
from ticketing.admission.tickets import Ticket
from ticketing.chassis.arrays import ids
from ticketing.chassis.loop_connection import LoopConnection

STATEMENTS: Final[Mapping[str, str]] = {
    "lock_free_events": """(uuid[]) AS
        SELECT event_id FROM events WHERE event_id = ANY ($1) ORDER BY event_id FOR SHARE SKIP LOCKED""",
    "lock_free_tickets": f"""(uuid[], uuid[], bytea[], uuid[], uuid[], bytea[]) AS
        SELECT t.event_id, t.ticket_id {LOCK_GROUPS_OF} SKIP LOCKED""",
    "read_rows": f"(uuid[], uuid[], bytea[], uuid[], uuid[], bytea[], uuid[], uuid[]) AS {READ_GROUPS_OF}",
}
# An insert can still wait for another session, because no statement skips an unfinished insert of the same key.
WRITE_MILLISECONDS: Final = 20
_LOCK_EVENTS: Final = f"BEGIN; SET LOCAL lock_timeout = {WRITE_MILLISECONDS}; EXECUTE lock_free_events(%s)"
_LOCK_TICKETS: Final = "EXECUTE lock_free_tickets(%s, %s, %s, %s, %s, %s)"
_READ_ROWS: Final = "EXECUTE read_rows(%s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class FreeRows:
    """The rows that a batch read, and those of them that another session has locked."""

    rows: LockedRows
    locked_events: frozenset[UUID]
    locked_tickets: Mapping[TicketKey, Ticket]


async def lock_free_events(connection: LoopConnection, request: LockRequest) -> frozenset[UUID]:
    """Begin the transaction, lock the free events of `request`, and return their ids."""
    rows = await connection.round_trip(_LOCK_EVENTS, [ids(request.events)])
    return frozenset(event_id for (event_id,) in rows)


async def lock_free_tickets(connection: LoopConnection, request: LockRequest, free_events: frozenset[UUID]) -> FreeRows:
    """Lock the free tickets of `request`, then read all of its rows."""
    tickets = request.ticket_arguments()
    own = {(event_id, ticket_id) for event_id, ticket_id in await connection.round_trip(_LOCK_TICKETS, tickets)}
    keys: tuple[Any, ...] = (*tickets, ids(request.events), ids(request.scans))
    rows = read_locked_rows(await connection.round_trip(_READ_ROWS, keys))
    locked_tickets = {key: ticket for key, ticket in rows.tickets.items() if key not in own}
    return FreeRows(rows, frozenset(rows.events.keys() - free_events), locked_tickets)
