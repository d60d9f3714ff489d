"""The statements of look-ups at gates."""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.look_ups import HeldTicket, Search
from ticket_service.store.tables import events

# The search reads the tickets of one event and no index on names or addresses, which every sale would have to write.
# The timeout ends it before the caller stops waiting.
SEARCH_MILLISECONDS: Final = 1_800
# After a transfer, the name and address of the buyer are not those of the holder.
_FIND: Final = sa.text(r"""
    WITH transfers AS (
        SELECT DISTINCT ON (ticket_id) ticket_id, email FROM reissues
        WHERE event_id = :event_id AND status = 'DONE' AND user_id IS NOT NULL
        ORDER BY ticket_id, issue DESC
    ), holders AS (
        SELECT tickets.ticket_id, tickets.issue, tickets.user_id, tickets.purchase_id,
               tickets.status = 'ACTIVE' AND tickets.check_in_time IS NULL AS is_unused,
               CASE WHEN transfers.ticket_id IS NULL THEN coalesce(contacts.email, '') ELSE transfers.email END AS email,
               CASE WHEN transfers.ticket_id IS NULL THEN coalesce(purchases.metadata ->> 'holder_name', '')
                    ELSE '' END AS name
        FROM tickets
        JOIN purchases ON purchases.event_id = tickets.event_id AND purchases.purchase_id = tickets.purchase_id
        LEFT JOIN contacts ON contacts.event_id = tickets.event_id AND contacts.purchase_id = tickets.purchase_id
        LEFT JOIN transfers ON transfers.ticket_id = tickets.ticket_id
        WHERE tickets.event_id = :event_id
    )
    SELECT ticket_id, issue, name, email FROM holders
    WHERE starts_with(lower(email), :text)
       OR user_id = :exact
       OR :purchase_end <> '' AND right(CAST(purchase_id AS text), length(:purchase_end)) = :purchase_end
       OR name <> '' AND (
            ' ' || translate(lower(name), '-', ' ') LIKE ALL (CAST(:composed AS text[]))
         OR ' ' || translate(lower(name), '-', ' ') LIKE ALL (CAST(:decomposed AS text[])))
    ORDER BY is_unused DESC, ticket_id DESC
    LIMIT :limit
""")


def allows_look_ups(connection: Connection, event_id: UUID) -> bool:
    """Return whether the event exists and allows look-ups."""
    query = sa.select(events.c.allow_gate_look_up).where(events.c.event_id == event_id)
    return bool(connection.execute(query).scalar_one_or_none())


def find_tickets(connection: Connection, event_id: UUID, search: Search, limit: int) -> list[HeldTicket]:
    """Read the tickets of an event that match, unused ones first, then the newest; the timeout lasts until the transaction ends."""
    connection.execute(sa.text(f"SET LOCAL statement_timeout = {SEARCH_MILLISECONDS}"))
    parameters = {
        "event_id": event_id,
        "text": search.text,
        "exact": search.exact,
        "purchase_end": search.purchase_end,
        "composed": [_begins_a_word(word) for word in search.composed_words],
        "decomposed": [_begins_a_word(word) for word in search.decomposed_words],
        "limit": limit,
    }
    return [HeldTicket(*row) for row in connection.execute(_FIND, parameters)]


def _begins_a_word(word: str) -> str:
    """Return the LIKE pattern of a text with a word that begins so."""
    escaped = word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"% {escaped}%"
