"""Statements on the places that one customer of an event holds and owns; the event is locked.

The expressions take SQL for the event, the user, the address of a guest, and the id of the oldest purchase whose places
may have returned to sale recently. A NULL user or address selects no row.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.customers import Customer, Hold, Holdings
from ticket_service.domain.events import TicketType
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.store.contacts import address_of_buyer

# A card that is declined at once gives the places back at once, and its buyer tries another one. A buyer who waits and
# then lets the confirmation at the bank fail has kept the places from others, as with a hold that expires.
_UNPAID: Final = f"""(status IN ('{PurchaseStatus.EXPIRED}', '{PurchaseStatus.RELEASED}')
     OR (status = '{PurchaseStatus.DECLINED}' AND complete_time >= create_time + interval '1 minute'))"""


def unpaid_purchases(event: str, user: str, address: str, since: str) -> str:
    """Write the query for a customer's holds and recently ended holds, as one JSON array of `Holdings` input."""
    of_user = f"purchases.user_id = {user} AND purchases.event_id = {event} AND NOT purchases.is_guest"
    # The id of a purchase contains the time of its creation, so the index on user and purchase finds the recent ones.
    return f"""(
        SELECT json_agg(json_build_array(purchase_id, items, provider, status, hold_expire_time, complete_time))
        FROM (
            SELECT purchases.* FROM purchases WHERE {of_user} AND due_time IS NOT NULL
            UNION ALL
            SELECT purchases.* FROM purchases WHERE {of_user} AND purchase_id >= {since} AND {_UNPAID}
            UNION ALL
            SELECT purchases.* FROM contacts JOIN purchases USING (event_id, purchase_id)
            WHERE lower(contacts.email) = lower({address}) AND contacts.event_id = {event} AND purchases.is_guest
              AND (due_time IS NOT NULL OR (purchase_id >= {since} AND {_UNPAID}))
        ) AS unpaid
    )"""  # noqa: S608 - SQL of this module and its caller


def valid_tickets(event: str, user: str, address: str) -> str:
    """Write the query for the number of a customer's tickets that take up a place, as one JSON object by type."""
    return f"""(
        SELECT json_object_agg(ticket_type, number) FROM (
            SELECT ticket_type, count(*) AS number FROM (
                SELECT ticket_type FROM tickets
                WHERE user_id = {user} AND event_id = {event} AND status IN ('ACTIVE', 'BLOCKED')
                UNION ALL
                SELECT ticket_type
                FROM contacts JOIN purchases USING (event_id, purchase_id) JOIN tickets USING (event_id, purchase_id)
                WHERE lower(contacts.email) = lower({address}) AND contacts.event_id = {event} AND purchases.is_guest
                  AND tickets.user_id = purchases.user_id AND tickets.status IN ('ACTIVE', 'BLOCKED')
            ) AS valid GROUP BY ticket_type
        ) AS counted
    )"""  # noqa: S608 - SQL of this module and its caller


_FIND: Final = sa.text(
    f"""SELECT {unpaid_purchases(":event_id", ":user_id", ":address", ":since")} AS unpaid,
               {valid_tickets(":event_id", ":user_id", ":address")} AS valid"""
)


def find_holdings(connection: Connection, purchase: Purchase, since: datetime) -> Holdings:
    """Read the places of the customer of a purchase, in its locked event."""
    address = address_of_buyer(connection, purchase.event_id, purchase.purchase_id) if purchase.is_guest else None
    parameters = {
        "event_id": purchase.event_id,
        # Erased buyers are not one customer.
        "user_id": None if purchase.is_guest else purchase.user_id or None,
        "address": address or None,
        "since": first_id_of(since),
    }
    row = connection.execute(_FIND, parameters).one()
    return holdings_of(row.unpaid, row.valid)


def holdings_of(unpaid: Sequence[Sequence[Any]] | None, valid: Mapping[str, int] | None) -> Holdings:
    """Convert the results of the two queries."""
    holdings = Holdings(tickets={TicketType(ticket_type): number for ticket_type, number in (valid or {}).items()})
    for purchase_id, items, provider, status, expire_time, complete_time in unpaid or ():
        its = tuple(Item(TicketType(ticket_type), quantity, price) for ticket_type, quantity, price in items)
        if status == PurchaseStatus.HELD:
            holdings.holds.append(Hold(UUID(purchase_id), its, provider, datetime.fromisoformat(expire_time)))
        else:
            places = sum(item.quantity for item in its)
            holdings.returned.append((datetime.fromisoformat(complete_time), places))
    return holdings


def first_id_of(time: datetime) -> UUID:
    """Return the smallest UUIDv7 of a time."""
    milliseconds = max(0, int(time.timestamp() * 1000))
    return UUID(int=milliseconds << 80)


def parameters_of(customer: Customer | None) -> tuple[str | None, str | None]:
    """Return the user and the address that select a customer's rows."""
    return (None, None) if customer is None else (customer.user_id or None, customer.address or None)


def oldest_hold(now: datetime, window: timedelta, hold: timedelta) -> datetime:
    """Return the earliest creation of a purchase whose hold may have ended within `window`."""
    return now - window - hold
