"""Statements on e-mail addresses, which have a table of their own so that they can be erased."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.store.tables import contacts, reissues

# Mails about a transferred ticket go to the new holder alone, even if their address is not known.
_ADDRESSES: Final = sa.text("""
    SELECT tickets.ticket_id, coalesce(transfer.email, contacts.email, '') AS email
    FROM tickets
    LEFT JOIN contacts ON contacts.event_id = tickets.event_id AND contacts.purchase_id = tickets.purchase_id
    LEFT JOIN LATERAL (
        SELECT email FROM reissues
        WHERE reissues.event_id = tickets.event_id AND reissues.ticket_id = tickets.ticket_id
          AND reissues.status = 'DONE' AND reissues.user_id IS NOT NULL AND reissues.issue <= :issue
        ORDER BY issue DESC LIMIT 1
    ) AS transfer ON true
    WHERE tickets.event_id = :event_id AND tickets.ticket_id = ANY (CAST(:ticket_ids AS uuid[]))
""")
NEWEST: Final = 2**31 - 1


def address_of_buyer(connection: Connection, event_id: UUID, purchase_id: UUID) -> str:
    """Read the address of a buyer; "" if none is stored."""
    its = (contacts.c.event_id == event_id, contacts.c.purchase_id == purchase_id)
    found: str | None = connection.execute(sa.select(contacts.c.email).where(*its)).scalar_one_or_none()
    return found or ""


def addresses_of_holders(
    connection: Connection, event_id: UUID, ticket_ids: Sequence[UUID], issue: int = NEWEST
) -> dict[UUID, str]:
    """Read the addresses of the holders of tickets as of an issue; "" if none is stored."""
    parameters = {"event_id": event_id, "ticket_ids": [str(one) for one in ticket_ids], "issue": issue}
    return {row.ticket_id: row.email for row in connection.execute(_ADDRESSES, parameters)}


def erase(connection: Connection, email: str) -> int:
    """Erase an address in every table, in upper or lower case; return the number of rows that contained it."""
    wanted = sa.func.lower(email)
    deleted = connection.execute(sa.delete(contacts).where(sa.func.lower(contacts.c.email) == wanted)).rowcount
    blanked = sa.update(reissues).where(sa.func.lower(reissues.c.email) == wanted).values(email="")
    return deleted + connection.execute(blanked).rowcount
