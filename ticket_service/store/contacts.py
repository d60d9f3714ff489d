"""Statements on addresses: where people are mailed, kept apart from what they bought so that it can be erased."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.store.tables import contacts, reissues

# A ticket that was transferred is its new holder's, and so is every mail of it, also where they gave no address.
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
    """Read where the buyer is mailed; "" where that is not known."""
    its = (contacts.c.event_id == event_id, contacts.c.purchase_id == purchase_id)
    found: str | None = connection.execute(sa.select(contacts.c.email).where(*its)).scalar_one_or_none()
    return found or ""


def addresses_of_holders(
    connection: Connection, event_id: UUID, ticket_ids: Sequence[UUID], issue: int = NEWEST
) -> dict[UUID, str]:
    """Read where the holders of tickets are mailed, as of an issue; "" where that is not known."""
    parameters = {"event_id": event_id, "ticket_ids": [str(one) for one in ticket_ids], "issue": issue}
    return {row.ticket_id: row.email for row in connection.execute(_ADDRESSES, parameters)}


def erase(connection: Connection, email: str) -> int:
    """Forget an address, however it is spelled, wherever it stands; return how often it stood."""
    wanted = sa.func.lower(email)
    forgotten = connection.execute(sa.delete(contacts).where(sa.func.lower(contacts.c.email) == wanted)).rowcount
    blanked = sa.update(reissues).where(sa.func.lower(reissues.c.email) == wanted).values(email="")
    return forgotten + connection.execute(blanked).rowcount
