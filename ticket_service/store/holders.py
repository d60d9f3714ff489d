"""The statement that reads the name of a ticket's holder."""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

# The rows are found by their primary keys. A ticket of the first issue was not transferred; for others, the key leads
# to the reissues of the event. After a transfer, the name of the buyer is not that of the holder.
_HOLDER: Final = sa.text("""
    SELECT coalesce(purchases.metadata ->> 'holder_name', '')
    FROM events
    LEFT JOIN tickets ON tickets.event_id = events.event_id AND tickets.ticket_id = :ticket_id
        AND NOT (tickets.issue > 1 AND EXISTS (
            SELECT FROM reissues
            WHERE reissues.event_id = tickets.event_id AND reissues.ticket_id = tickets.ticket_id
              AND status = 'DONE' AND reissues.user_id IS NOT NULL))
    LEFT JOIN purchases ON purchases.event_id = events.event_id AND purchases.purchase_id = tickets.purchase_id
    WHERE events.event_id = :event_id AND events.show_holder_name
""")


def read_holder_name(connection: Connection, event_id: UUID, ticket_id: UUID) -> str | None:
    """Read the name of the holder, empty where it is unknown; return None where the event does not allow names."""
    name: str | None = connection.execute(_HOLDER, {"event_id": event_id, "ticket_id": ticket_id}).scalar()
    return name
