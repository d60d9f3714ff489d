"""Erase personal data from the tickets database, a bounded number of rows at a time.

Erased rows are not found again, so a batch needs no cursor. A batch locks at most one event row, before its tickets, as
every change of a ticket does. The ledger, payments and refunds contain ids only, and stay.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.erasures import NOTHING, Erased, Step
from ticket_service.store.events import lock_event

# Purchases under one lock of the event's row.
MAX_PURCHASES: Final = 100
MAX_ROWS: Final = 500

_TRANSFERS_OF_USER: Final = sa.text("""
    UPDATE reissues
    SET caller = CASE WHEN caller = :user_id THEN '' ELSE caller END,
        email = CASE WHEN user_id = :user_id THEN '' ELSE email END,
        user_id = CASE WHEN user_id = :user_id THEN '' ELSE user_id END
    WHERE (event_id, reissue_id) IN (
        SELECT event_id, reissue_id FROM reissues WHERE user_id = :user_id OR caller = :user_id
        ORDER BY event_id, reissue_id LIMIT :limit FOR UPDATE
    )
""")
_TRANSFERS_OF_ADDRESS: Final = sa.text("""
    UPDATE reissues SET email = ''
    WHERE (event_id, reissue_id) IN (
        SELECT event_id, reissue_id FROM reissues
        WHERE email <> '' AND lower(email) IN (SELECT lower(form) FROM unnest(CAST(:forms AS text[])) AS form)
        ORDER BY event_id, reissue_id LIMIT :limit FOR UPDATE
    )
""")
_PURCHASES_OF_USER: Final = sa.text("""
    SELECT purchase_id, is_guest FROM purchases WHERE event_id = :event_id AND user_id = :user_id
    ORDER BY purchase_id LIMIT :limit FOR NO KEY UPDATE
""")
_PURCHASES_OF_ADDRESS: Final = sa.text("""
    SELECT purchase_id FROM contacts
    WHERE event_id = :event_id AND lower(email) IN (SELECT lower(form) FROM unnest(CAST(:forms AS text[])) AS form)
    ORDER BY purchase_id LIMIT :limit
""")
_ADDRESS_EVENT: Final = sa.text("""
    SELECT event_id FROM contacts
    WHERE lower(email) IN (SELECT lower(form) FROM unnest(CAST(:forms AS text[])) AS form) LIMIT 1
""")
_LOCK_TICKETS_OF_PURCHASES: Final = sa.text("""
    SELECT tickets.ticket_id FROM tickets JOIN purchases USING (event_id, purchase_id)
    WHERE tickets.event_id = :event_id AND tickets.purchase_id = ANY (CAST(:purchase_ids AS uuid[]))
      AND tickets.user_id = purchases.user_id
    ORDER BY tickets.ticket_id FOR NO KEY UPDATE OF tickets
""")
_LOCK_TICKETS_OF_USER: Final = sa.text("""
    SELECT ticket_id FROM tickets WHERE event_id = :event_id AND user_id = :user_id
    ORDER BY ticket_id LIMIT :limit FOR NO KEY UPDATE
""")
_TICKETS: Final = sa.text(
    "UPDATE tickets SET user_id = '' WHERE event_id = :event_id AND ticket_id = ANY (CAST(:ticket_ids AS uuid[]))"
)
_REASONS: Final = tuple(
    sa.text(f"""
        UPDATE {table} SET reason = ''
        WHERE event_id = :event_id AND ticket_id = ANY (CAST(:ticket_ids AS uuid[])) AND reason <> ''
    """)  # noqa: S608 - constant names
    for table in ("cancellations", "ticket_refunds")
)
_BUYERS: Final = sa.text(
    "UPDATE purchases SET user_id = '' WHERE event_id = :event_id AND purchase_id = ANY (CAST(:purchase_ids AS uuid[]))"
)
_CONTACTS: Final = sa.text(
    "DELETE FROM contacts WHERE event_id = :event_id AND purchase_id = ANY (CAST(:purchase_ids AS uuid[]))"
)
_METADATA: Final = sa.text("""
    UPDATE purchases SET metadata = '{}', client_secret = NULL
    WHERE event_id = :event_id AND purchase_id = ANY (CAST(:purchase_ids AS uuid[]))
""")
_REFUNDS: Final = sa.text("""
    UPDATE ticket_refunds SET caller = ''
    WHERE (event_id, ticket_refund_id) IN (
        SELECT event_id, ticket_refund_id FROM ticket_refunds WHERE caller = :user_id
        ORDER BY event_id, ticket_refund_id LIMIT :limit FOR UPDATE
    )
""")


def _notifications(table: str, key: str) -> sa.TextClause:
    return sa.text(f"""
        UPDATE {table}
        SET user_id = nullif(user_id, :user_id),
            data = CASE WHEN data ->> 'previous_user_id' = :user_id THEN data - 'previous_user_id' ELSE data END
        WHERE ({key}) IN (
            SELECT {key} FROM {table} WHERE user_id = :user_id OR data ->> 'previous_user_id' = :user_id
            ORDER BY {key} LIMIT :limit FOR UPDATE
        )
    """)  # noqa: S608 - constant names


_OUTBOX: Final = _notifications("outbox", "event_id, position")
# Kept notifications, which a replay copies to the deliveries, so they come first.
_KEPT: Final = _notifications("notifications", "notification_id")
_DELIVERIES: Final = _notifications("deliveries", "event_id, receiver, stream, notification_id")
# A key without a caller and a fingerprint refuses a repetition of its request, so that nothing is bought twice.
_KEYS: Final = sa.text("""
    WITH erased AS (
        DELETE FROM idempotency_keys WHERE caller = :user_id AND request_id IN (
            SELECT request_id FROM idempotency_keys WHERE caller = :user_id ORDER BY request_id LIMIT :limit
        ) RETURNING *
    ), kept AS (
        INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)
        SELECT '', request_id, '', event_id, result_id, create_time FROM erased
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM erased
""")
_CHANGES: Final = sa.text("""
    UPDATE changes SET caller = '', request_id = ''
    WHERE (event_id, change_id) IN (
        SELECT event_id, change_id FROM changes WHERE caller = :user_id
        ORDER BY event_id, change_id LIMIT :limit FOR UPDATE
    )
""")


def erase_user(connection: Connection, step: Step, user_id: str) -> Erased:
    """Erase a batch of the rows of a step that name a user; NOTHING: no row is left."""
    return _USER_STEPS[step](connection, user_id)


def erase_address(connection: Connection, step: Step, forms: Sequence[str]) -> Erased:
    """Erase a batch of the rows of a step that contain an address in one of its forms, in upper or lower case."""
    parameters = {"forms": list(forms), "limit": MAX_ROWS}
    if step is Step.TRANSFERS:
        return Erased(contacts=connection.execute(_TRANSFERS_OF_ADDRESS, parameters).rowcount)
    event_id = connection.execute(_ADDRESS_EVENT, parameters).scalar_one_or_none()
    if event_id is None:
        return NOTHING
    lock_event(connection, event_id)
    its = {**parameters, "event_id": event_id, "limit": MAX_PURCHASES}
    purchase_ids = list(connection.execute(_PURCHASES_OF_ADDRESS, its).scalars())
    tickets = _lock_tickets(connection, _LOCK_TICKETS_OF_PURCHASES, event_id, purchase_ids=purchase_ids)
    _erase_reasons(connection, event_id, tickets)
    return Erased(purchases=len(purchase_ids), contacts=_erase_contents(connection, event_id, purchase_ids))


def _purchases(connection: Connection, user_id: str) -> Erased:
    event_id = _event_with(connection, "purchases", user_id)
    if event_id is None:
        return NOTHING
    lock_event(connection, event_id)
    parameters = {"event_id": event_id, "user_id": user_id, "limit": MAX_PURCHASES}
    found = connection.execute(_PURCHASES_OF_USER, parameters).all()
    purchase_ids = [row.purchase_id for row in found]
    # The user sold the purchase of a guest and did not buy it: address, metadata and reasons are the guest's.
    own = [row.purchase_id for row in found if not row.is_guest]
    tickets = _lock_tickets(connection, _LOCK_TICKETS_OF_PURCHASES, event_id, purchase_ids=purchase_ids)
    bought = _lock_tickets(connection, _LOCK_TICKETS_OF_PURCHASES, event_id, purchase_ids=own)
    _erase_reasons(connection, event_id, bought)
    connection.execute(_TICKETS, {"event_id": event_id, "ticket_ids": _texts(tickets)})
    connection.execute(_BUYERS, {"event_id": event_id, "purchase_ids": _texts(purchase_ids)})
    contacts = _erase_contents(connection, event_id, own)
    return Erased(purchases=len(purchase_ids), tickets=len(tickets), contacts=contacts)


def _tickets(connection: Connection, user_id: str) -> Erased:
    event_id = _event_with(connection, "tickets", user_id)
    if event_id is None:
        return NOTHING
    lock_event(connection, event_id)
    tickets = _lock_tickets(connection, _LOCK_TICKETS_OF_USER, event_id, user_id=user_id, limit=MAX_ROWS)
    _erase_reasons(connection, event_id, tickets)
    connection.execute(_TICKETS, {"event_id": event_id, "ticket_ids": _texts(tickets)})
    return Erased(tickets=len(tickets))


def _deliveries(connection: Connection, user_id: str) -> Erased:
    parameters = {"user_id": user_id, "limit": MAX_ROWS}
    return Erased(notifications=sum(connection.execute(one, parameters).rowcount for one in (_KEPT, _DELIVERIES)))


def _keys(connection: Connection, user_id: str) -> Erased:
    return Erased(requests=connection.execute(_KEYS, {"user_id": user_id, "limit": MAX_ROWS}).scalar_one())


def _simple(statement: sa.TextClause, counter: str) -> Callable[[Connection, str], Erased]:
    def erase(connection: Connection, user_id: str) -> Erased:
        erased = connection.execute(statement, {"user_id": user_id, "limit": MAX_ROWS}).rowcount
        return Erased(**{counter: erased})

    return erase


_USER_STEPS: Final[Mapping[Step, Callable[[Connection, str], Erased]]] = {
    Step.TRANSFERS: _simple(_TRANSFERS_OF_USER, "contacts"),
    Step.PURCHASES: _purchases,
    Step.TICKETS: _tickets,
    Step.REFUNDS: _simple(_REFUNDS, "requests"),
    Step.OUTBOX: _simple(_OUTBOX, "notifications"),
    Step.DELIVERIES: _deliveries,
    Step.KEYS: _keys,
    Step.CHANGES: _simple(_CHANGES, "requests"),
}


def _event_with(connection: Connection, table: str, user_id: str) -> UUID | None:
    query = sa.text(f"SELECT event_id FROM {table} WHERE user_id = :user_id LIMIT 1")  # noqa: S608 - a constant name
    found: UUID | None = connection.execute(query, {"user_id": user_id}).scalar_one_or_none()
    return found


def _lock_tickets(connection: Connection, query: sa.TextClause, event_id: UUID, **its: Any) -> list[UUID]:
    """Lock tickets of a locked event in the order of their ids; return the ids."""
    parameters = {name: _texts(value) if isinstance(value, list) else value for name, value in its.items()}
    return list(connection.execute(query, {"event_id": event_id, **parameters}).scalars())


def _erase_reasons(connection: Connection, event_id: UUID, ticket_ids: Sequence[UUID]) -> None:
    """Erase the texts with which tickets were cancelled or refunded."""
    for statement in _REASONS:
        connection.execute(statement, {"event_id": event_id, "ticket_ids": _texts(ticket_ids)})


def _erase_contents(connection: Connection, event_id: UUID, purchase_ids: Sequence[UUID]) -> int:
    """Erase the addresses and the metadata of purchases; return the number of addresses."""
    parameters = {"event_id": event_id, "purchase_ids": _texts(purchase_ids)}
    connection.execute(_METADATA, parameters)
    return connection.execute(_CONTACTS, parameters).rowcount


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(one) for one in ids]
