"""The statements of look-ups at gates."""

from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.look_ups import HeldTicket, Search
from ticket_service.store.tables import events

# The search reads the purchases of one event and no index on names, which every sale would have to write.
# The timeout ends it before the caller stops waiting.
SEARCH_MILLISECONDS: Final = 1_800
# Purchases and addresses are searched apart and before the join with tickets: at 300,000 tickets, the search of the
# joined rows took ten times as long. A text that matches more than MAX_CANDIDATES is too short for a choice, so the
# rest is not read. After a transfer, the name and address of the buyer are not those of the holder.
MAX_CANDIDATES: Final = 1_000
_FIND: Final = sa.text(r"""
    WITH transfers AS (
        SELECT DISTINCT ON (ticket_id) ticket_id, email FROM reissues
        WHERE event_id = :event_id AND status = 'DONE' AND user_id IS NOT NULL
        ORDER BY ticket_id, issue DESC
    ), named AS (
        SELECT purchase_id FROM purchases
        WHERE event_id = :event_id AND metadata ? 'holder_name' AND (
            ' ' || translate(lower(metadata ->> 'holder_name'), '-', ' ') LIKE ALL (CAST(:composed AS text[]))
         OR ' ' || translate(lower(metadata ->> 'holder_name'), '-', ' ') LIKE ALL (CAST(:decomposed AS text[])))
        LIMIT :candidates
    ), addressed AS (
        SELECT purchase_id FROM contacts WHERE event_id = :event_id AND starts_with(lower(email), :text)
        LIMIT :candidates
    ), numbered AS (
        SELECT purchase_id FROM purchases
        WHERE event_id = :event_id AND :purchase_end <> ''
          AND right(CAST(purchase_id AS text), length(:purchase_end)) = :purchase_end
        LIMIT :candidates
    ), found AS (
        SELECT ticket_id FROM tickets
        WHERE event_id = :event_id
          AND purchase_id IN (SELECT purchase_id FROM named UNION SELECT purchase_id FROM addressed)
          AND ticket_id NOT IN (SELECT ticket_id FROM transfers)
        UNION
        SELECT ticket_id FROM transfers WHERE starts_with(lower(email), :text)
        UNION
        SELECT ticket_id FROM tickets
        WHERE event_id = :event_id AND purchase_id IN (SELECT purchase_id FROM numbered)
        UNION
        SELECT ticket_id FROM tickets WHERE event_id = :event_id AND user_id = :exact
    )
    SELECT ticket_id, tickets.issue,
           CASE WHEN transfers.ticket_id IS NULL THEN coalesce(purchases.metadata ->> 'holder_name', '') ELSE '' END,
           CASE WHEN transfers.ticket_id IS NULL THEN coalesce(contacts.email, '') ELSE transfers.email END
    FROM found
    JOIN tickets USING (ticket_id)
    JOIN purchases ON purchases.event_id = :event_id AND purchases.purchase_id = tickets.purchase_id
    LEFT JOIN contacts ON contacts.event_id = :event_id AND contacts.purchase_id = tickets.purchase_id
    LEFT JOIN transfers USING (ticket_id)
    WHERE tickets.event_id = :event_id
    ORDER BY (tickets.status = 'ACTIVE' AND tickets.check_in_time IS NULL) DESC, ticket_id DESC
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
        "candidates": MAX_CANDIDATES,
        "limit": limit,
    }
    return [HeldTicket(*row) for row in connection.execute(_FIND, parameters)]


def _begins_a_word(word: str) -> str:
    """Return the LIKE pattern of a text with a word that begins so."""
    escaped = word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"% {escaped}%"
