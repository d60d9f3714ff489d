"""The statements of revocations."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from scan_service.domain.revocations import Revocation, RevocationOutcome
from scan_service.store.rows import TICKET_COLUMNS, ticket_of
from scan_service.store.tables import events, revocations, tickets
from ticketing.admission.tickets import EventStatus, Ticket
from ticketing.chassis.arrays import array

# One statement inserts unknown tickets and locks known ones, in the order of ids; its update changes nothing.
_LOCK_TICKETS: Final = sa.text(f"""
    INSERT INTO tickets (event_id, ticket_id, known, status, issue, code_digest, generation, revision, inside,
                         sequence, reported_sequence)
    SELECT CAST(:event_id AS uuid), ticket_id, false, 'ACTIVE', issue, code_digest, 0, 0, false, 0, 0
    FROM unnest(CAST(:ticket_ids AS uuid[]), CAST(:issues AS integer[]), CAST(:code_digests AS bytea[]))
        AS new(ticket_id, issue, code_digest)
    ORDER BY ticket_id
    ON CONFLICT (event_id, ticket_id) DO UPDATE SET known = tickets.known
    RETURNING {", ".join(TICKET_COLUMNS)}
""")  # noqa: S608 - composed of constants

_UPDATE_TICKETS: Final = sa.text("""
    UPDATE tickets t
    SET status = new.status, issue = new.issue, code_digest = new.code_digest, token_digest = new.token_digest,
        changed_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
    FROM unnest(CAST(:ticket_ids AS uuid[]), CAST(:statuses AS text[]), CAST(:issues AS integer[]),
                CAST(:code_digests AS bytea[]), CAST(:token_digests AS bytea[]))
        AS new(ticket_id, status, issue, code_digest, token_digest)
    WHERE t.event_id = :event_id AND t.ticket_id = new.ticket_id
""")


def lock_tickets(
    connection: Connection, event_id: UUID, unknown: Iterable[tuple[UUID, int, bytes]]
) -> dict[UUID, Ticket]:
    """Lock tickets; `unknown` has each ticket id, with the issue and the code digest that an unknown ticket gets."""
    new = list(unknown)
    rows = connection.execute(
        _LOCK_TICKETS,
        {
            "event_id": event_id,
            "ticket_ids": array(ticket_id for ticket_id, _, _ in new),
            "issues": array(issue for _, issue, _ in new),
            "code_digests": array(f"\\x{digest.hex()}" for _, _, digest in new),
        },
    )
    locked = (ticket_of(tuple(row)) for row in rows)
    return {ticket.ticket_id: ticket for ticket in locked}


def skip_locked(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> frozenset[UUID]:
    """Lock those of the tickets that no other session has locked, and return the ids of the others."""
    condition = (tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids))
    query = sa.select(tickets.c.ticket_id).where(*condition)
    free = connection.execute(query.order_by(tickets.c.ticket_id).with_for_update(skip_locked=True)).scalars().all()
    return frozenset(connection.execute(query).scalars()) - frozenset(free)


def read_outcomes(
    connection: Connection, event_id: UUID, revocation_ids: Iterable[UUID]
) -> dict[UUID, RevocationOutcome]:
    """Return the outcomes of the revocations that were decided before, by id."""
    query = sa.select(revocations).where(
        revocations.c.event_id == event_id, revocations.c.revocation_id.in_(list(revocation_ids))
    )
    return {row.revocation_id: RevocationOutcome(row.ticket_id, row.check_in_time) for row in connection.execute(query)}


def update_tickets(connection: Connection, event_id: UUID, changed: Sequence[Ticket]) -> None:
    """Store the status and the issue of locked tickets."""
    connection.execute(
        _UPDATE_TICKETS,
        {
            "event_id": event_id,
            "ticket_ids": array(ticket.ticket_id for ticket in changed),
            "statuses": array(ticket.status for ticket in changed),
            "issues": array(ticket.issue for ticket in changed),
            "code_digests": array(f"\\x{ticket.code_digest.hex()}" for ticket in changed),
            "token_digests": array(
                None if ticket.token_digest is None else f"\\x{ticket.token_digest.hex()}" for ticket in changed
            ),
        },
    )


def save_outcomes(
    connection: Connection, event_id: UUID, outcomes: Mapping[Revocation, RevocationOutcome], now: datetime
) -> None:
    """Store the outcomes of revocations."""
    rows = [
        {
            "event_id": event_id,
            "revocation_id": revocation.revocation_id,
            "ticket_id": outcome.ticket_id,
            "check_in_time": outcome.check_in_time,
            "create_time": now,
        }
        for revocation, outcome in outcomes.items()
    ]
    if rows:
        connection.execute(revocations.insert(), rows)


def close_event(connection: Connection, event_id: UUID) -> None:
    """Close an event, known or not; wait for the scans in progress, so that every later scan finds the event closed."""
    statement = insert(events).values(
        event_id=event_id,
        organizer_id="",
        name="",
        status=EventStatus.CANCELLED,
        admission_policy="SINGLE_ENTRY",
        generation=0,
        revision=0,
        closed=True,
    )
    connection.execute(statement.on_conflict_do_update(index_elements=[events.c.event_id], set_={"closed": True}))


def count_checked_in(connection: Connection, event_id: UUID) -> int:
    """Count the tickets of an event that are checked in."""
    query = sa.select(sa.func.count()).where(tickets.c.event_id == event_id, tickets.c.check_in_time.is_not(None))
    return connection.execute(query).scalar_one()
