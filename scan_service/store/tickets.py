"""The statement that reads one ticket without a lock."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.store.rows import TICKET_COLUMNS, ticket_of
from scan_service.store.tables import tickets
from ticketing.admission.tickets import Ticket
from ticketing.admission.tokens import Token


def read_ticket(connection: Connection, credential: Token | bytes) -> Ticket | None:
    """Read a ticket by its token or by the digest of its code; return None where it is unknown."""
    query = sa.select(*(tickets.c[name] for name in TICKET_COLUMNS))
    if isinstance(credential, Token):
        query = query.where(tickets.c.event_id == credential.event_id, tickets.c.ticket_id == credential.ticket_id)
    else:
        query = query.where(tickets.c.code_digest == credential)
    row = connection.execute(query).first()
    return None if row is None else ticket_of(tuple(row))
