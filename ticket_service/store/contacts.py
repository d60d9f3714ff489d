"""Statements on e-mail addresses, which have a table of their own so that they can be erased."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from ticket_service.store.tables import contacts, purchases, reissues, tickets

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


def purchases_of_address(email: str) -> sa.Select[Any]:
    """Return the query for the keys of the purchases of an address, in upper or lower case."""
    wanted = sa.func.lower(contacts.c.email) == sa.func.lower(email)
    return sa.select(contacts.c.event_id, contacts.c.purchase_id).where(wanted)


def tickets_of_address(email: str) -> sa.CompoundSelect[Any]:
    """Return the query for the keys of the tickets whose present holder has an address, in upper or lower case."""
    transfer = reissues.alias("transfer")
    its_transfers = sa.select(transfer.c.issue).where(
        transfer.c.event_id == tickets.c.event_id,
        transfer.c.ticket_id == tickets.c.ticket_id,
        transfer.c.status == "DONE",
        transfer.c.user_id.is_not(None),
    )
    bought = (
        sa.select(tickets.c.event_id, tickets.c.ticket_id)
        .join(
            contacts,
            sa.and_(contacts.c.event_id == tickets.c.event_id, contacts.c.purchase_id == tickets.c.purchase_id),
        )
        .where(sa.func.lower(contacts.c.email) == sa.func.lower(email), ~its_transfers.exists())
    )
    received = (
        sa.select(tickets.c.event_id, tickets.c.ticket_id)
        .join(reissues, sa.and_(reissues.c.event_id == tickets.c.event_id, reissues.c.ticket_id == tickets.c.ticket_id))
        .where(
            sa.func.lower(reissues.c.email) == sa.func.lower(email),
            # The condition of the partial index.
            reissues.c.email != "",
            reissues.c.status == "DONE",
            reissues.c.user_id.is_not(None),
            ~its_transfers.where(transfer.c.issue > reissues.c.issue).exists(),
        )
    )
    return bought.union(received)


def store_address(connection: Connection, event_id: UUID, purchase_id: UUID, email: str) -> None:
    """Store the address of a buyer in place of an earlier one."""
    new = insert(contacts).values(event_id=event_id, purchase_id=purchase_id, email=email)
    key = [contacts.c.event_id, contacts.c.purchase_id]
    connection.execute(new.on_conflict_do_update(index_elements=key, set_={"email": new.excluded.email}))


def store_language(connection: Connection, event_id: UUID, purchase_id: UUID, language: str) -> None:
    """Store the language of a purchase in place of an earlier one."""
    its = (purchases.c.event_id == event_id, purchases.c.purchase_id == purchase_id)
    connection.execute(sa.update(purchases).where(*its).values(language=language))


def last_transfer(connection: Connection, event_id: UUID, ticket_id: UUID) -> UUID | None:
    """Return the id of the transfer by which the present holder received a ticket, or None."""
    query = (
        sa.select(reissues.c.reissue_id)
        .where(reissues.c.event_id == event_id, reissues.c.ticket_id == ticket_id)
        .where(reissues.c.status == "DONE", reissues.c.user_id.is_not(None))
        .order_by(reissues.c.issue.desc())
        .limit(1)
    )
    found: UUID | None = connection.execute(query).scalar_one_or_none()
    return found


def store_address_of_transfer(connection: Connection, event_id: UUID, reissue_id: UUID, email: str) -> None:
    """Store the address of the holder after a transfer in place of an earlier one."""
    its = (reissues.c.event_id == event_id, reissues.c.reissue_id == reissue_id)
    connection.execute(sa.update(reissues).where(*its).values(email=email))
