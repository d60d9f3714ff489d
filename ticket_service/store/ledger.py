"""Statements on the ledger."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.ledger import LedgerEntry
from ticket_service.store.tables import ledger

# The entry refers to the payment that completed the purchase of the ticket.
_ENTER_REFUND_OF: Final = sa.text("""
    INSERT INTO ledger
        (event_id, purchase_id, order_id, provider, kind, payment_id, refund_id, currency, amount, note, create_time)
    SELECT event_id, payments.purchase_id, cancellation_id, payments.provider, 'REFUNDED', payments.payment_id,
           cancellations.refund_id, cancellations.currency, refund_amount, '', :now
    FROM cancellations JOIN tickets USING (event_id, ticket_id)
    JOIN payments USING (event_id, purchase_id)
    WHERE event_id = :event_id AND cancellation_id = :cancellation_id AND NOT refund_due
""")


def enter(connection: Connection, entry: LedgerEntry, now: datetime) -> None:
    """Insert an entry in the transaction that stores its effect."""
    enter_all(connection, [entry], now)


def enter_all(connection: Connection, entries: Sequence[LedgerEntry], now: datetime) -> None:
    """Insert entries in the transaction that stores their effects."""
    if entries:
        connection.execute(sa.insert(ledger), [asdict(entry) | {"create_time": now} for entry in entries])


def enter_refund_of(connection: Connection, event_id: UUID, cancellation_id: UUID, now: datetime) -> None:
    """Insert the entry of a cancellation that the caller's own payment system refunded."""
    parameters = {"event_id": event_id, "cancellation_id": cancellation_id, "now": now}
    connection.execute(_ENTER_REFUND_OF, parameters)
