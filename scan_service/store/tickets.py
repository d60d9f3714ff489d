"""The statements that read tickets without a lock."""

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import TICKET_COLUMNS, ticket_of
from scan_service.store.tables import tickets
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.tickets import Ticket
from ticketing.admission.tokens import Token


def read_ticket(connection: Connection, credential: Token | LookUpPass | bytes) -> Ticket | None:
    """Read a ticket by its token, its look-up pass or the digest of its code; return None where it is unknown."""
    query = sa.select(*(tickets.c[name] for name in TICKET_COLUMNS))
    if not isinstance(credential, bytes):
        query = query.where(tickets.c.event_id == credential.event_id, tickets.c.ticket_id == credential.ticket_id)
    else:
        query = query.where(tickets.c.code_digest == credential)
    row = connection.execute(query).first()
    return None if row is None else ticket_of(tuple(row))


def read_tickets(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> dict[UUID, Ticket]:
    """Read those tickets of an event that the replica has, by their ids."""
    query = sa.select(*(tickets.c[name] for name in TICKET_COLUMNS))
    query = query.where(tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids))
    return {ticket.ticket_id: ticket for ticket in (ticket_of(tuple(row)) for row in connection.execute(query))}
