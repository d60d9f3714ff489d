"""The three round trips of a sales batch, as prepared statements of a LoopConnection.

Each round trip is one statement: lock, then read with a fresh snapshot, then write everything together with COMMIT.
Arrays are sent as text and unnested by PostgreSQL, which took a third of the time of one row at a time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from ticket_service.domain.customers import Customer, Holdings, counts_tickets
from ticket_service.domain.events import TicketType
from ticket_service.domain.ledger import EntryKind
from ticket_service.domain.purchases import EXTERNAL, Item
from ticket_service.domain.sales import HeldAgain, Inventory, Order, Replayed, Sale, SaleContext, SalesBatch
from ticket_service.domain.secrets import Digests
from ticket_service.domain.tickets import Ticket
from ticket_service.store.customers import (
    first_id_of,
    holdings_of,
    oldest_hold,
    parameters_of,
    unpaid_purchases,
    valid_tickets,
)
from ticket_service.store.known_events import READ_EVENTS, KnownEvents
from ticket_service.store.sale_counters import count_sales
from ticketing.chassis.arrays import array, binaries, ids, times
from ticketing.chassis.ids import new_id
from ticketing.chassis.loop_connection import LoopConnection

# The order by id prevents deadlocks of batches. NO KEY suffices, because the key of an event never changes.
_COUNTERS: Final = "(uuid[]) AS SELECT event_id, version, reserved, revision FROM events WHERE event_id = ANY ($1)"
_LOCK: Final = f"{_COUNTERS} ORDER BY event_id FOR NO KEY UPDATE"

# One row for each order, with its recorded request, its payment and the places of its customer, and one row for each
# offer. The places are read under the event's lock, and only where a bound or a hold may need them.
_CUSTOMER: Final = ("wanted.event_id", "wanted.user_id", "wanted.address")
_READ: Final = f"""(text[], uuid[], text[], uuid[], uuid[], text[], text[], boolean[], boolean[], boolean[], uuid) AS
SELECT wanted.n, coalesce(key.fingerprint, erased.fingerprint), coalesce(key.event_id, erased.event_id) AS first_event,
       coalesce(key.result_id, erased.result_id), payment.purchase_id AS paid_by,
       CASE WHEN wanted.is_held OR (
           wanted.is_unpaid AND EXISTS (SELECT FROM offers WHERE offers.event_id = wanted.event_id AND offers.price > 0)
       ) THEN {unpaid_purchases(*_CUSTOMER, "$11")} END AS unpaid,
       CASE WHEN wanted.is_counted OR (
           (wanted.user_id IS NOT NULL OR wanted.address IS NOT NULL) AND EXISTS (
               SELECT FROM offers WHERE offers.event_id = wanted.event_id AND offers.max_tickets_per_customer > 0
           )
       ) THEN {valid_tickets(*_CUSTOMER)} END AS valid,
       NULL AS ticket_type, NULL::integer AS reserved
FROM unnest($1, $2, $3, $5, $6, $7, $8, $9, $10) WITH ORDINALITY AS wanted (
    caller, request_id, payment_id, event_id, user_id, address, is_held, is_unpaid, is_counted, n
)
LEFT JOIN idempotency_keys AS key ON key.caller = wanted.caller AND key.request_id = wanted.request_id
LEFT JOIN idempotency_keys AS erased ON erased.caller = '' AND erased.request_id = wanted.request_id
LEFT JOIN payments AS payment ON payment.provider = '{EXTERNAL}' AND payment.payment_id = wanted.payment_id
UNION ALL
SELECT NULL, NULL, event_id, NULL, NULL, NULL, NULL, ticket_type, reserved FROM offers WHERE event_id = ANY ($4)
"""  # noqa: S608 - SQL of our own modules

_WRITE: Final = f"""(
    timestamptz,
    uuid[], uuid[], text[], text[], text[], bigint[], text[], text[], text[], text[], text[], uuid[], bytea[],
    text[], timestamptz[], timestamptz[], timestamptz[], text[], bigint[], uuid[], text[], text[],
    boolean[], text[],
    uuid[], uuid[], uuid[], text[], text[], bigint[], timestamptz[], timestamptz[], bigint[], bytea[], bytea[],
    uuid[], text[], integer[],
    uuid[], integer[], bigint[]
) AS
WITH sale AS MATERIALIZED (
    SELECT * FROM unnest(
        $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25
    ) AS sale (
        event_id, purchase_id, user_id, items, currency, total, provider, payment_id, metadata, email, caller,
        request_id, fingerprint, status, complete_time, hold_expire_time, due_time, payment_method, event_version,
        notification_id, kind, data, is_guest, language
    )
), purchased AS (
    INSERT INTO purchases (
        event_id, purchase_id, user_id, items, currency, total, status, provider, payment_id, metadata, create_time,
        complete_time, hold_expire_time, due_time, payment_method, event_version, is_guest, language
    )
    SELECT event_id, purchase_id, user_id, items::jsonb, currency, total, status, provider, payment_id,
           metadata::jsonb, $1, complete_time, hold_expire_time, due_time, payment_method, event_version, is_guest,
           language
    FROM sale
), addressed AS (
    INSERT INTO contacts (event_id, purchase_id, email)
    SELECT event_id, purchase_id, email FROM sale WHERE email <> ''
), keyed AS (
    INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)
    SELECT caller, request_id, fingerprint, event_id, purchase_id, $1 FROM sale
), paid AS (
    INSERT INTO payments (provider, payment_id, event_id, purchase_id, currency, amount, create_time)
    SELECT provider, payment_id, event_id, purchase_id, currency, total, $1 FROM sale WHERE payment_id IS NOT NULL
), entered AS (
    INSERT INTO ledger (event_id, purchase_id, provider, kind, payment_id, currency, amount, note, create_time)
    SELECT event_id, purchase_id, provider, '{EntryKind.CHARGED}', payment_id, currency, total, '', $1
    FROM sale WHERE payment_id IS NOT NULL
), notified AS (
    INSERT INTO outbox (event_id, notification_id, kind, purchase_id, user_id, data, create_time)
    SELECT event_id, notification_id, kind, purchase_id, user_id, data::jsonb, $1
    FROM sale WHERE notification_id IS NOT NULL
), issued AS (
    INSERT INTO tickets (
        event_id, ticket_id, purchase_id, user_id, ticket_type, status, price, valid_from_time, valid_until_time,
        check_in_sequence, issue, revision, code_digest, token_digest, create_time, update_time
    )
    SELECT event_id, ticket_id, purchase_id, user_id, ticket_type, 'ACTIVE', price, valid_from_time,
           valid_until_time, 0, 1, revision, code_digest, token_digest, $1, $1
    FROM unnest($26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36) AS ticket (
        event_id, ticket_id, purchase_id, user_id, ticket_type, price, valid_from_time, valid_until_time, revision,
        code_digest, token_digest
    )
), counted AS (
    UPDATE offers SET reserved = after.reserved
    FROM unnest($37, $38, $39) AS after (event_id, ticket_type, reserved)
    WHERE offers.event_id = after.event_id AND offers.ticket_type = after.ticket_type
)
UPDATE events SET reserved = after.reserved, revision = after.revision
FROM unnest($40, $41, $42) AS after (event_id, reserved, revision)
WHERE events.event_id = after.event_id
"""  # noqa: S608 - a constant name

_EXECUTE_WRITE: Final = f"EXECUTE write_sales({', '.join(['%s'] * 42)})"

# A customer who gets their own hold again may have corrected the address, the metadata and the language; the last order counts.
_HOLD_AGAIN: Final = """(timestamptz, uuid[], uuid[], text[], text[], text[], text[], uuid[], bytea[]) AS
WITH again AS MATERIALIZED (
    SELECT * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY AS again (
        event_id, purchase_id, email, metadata, language, caller, request_id, fingerprint, n
    )
), keyed AS (
    INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)
    SELECT caller, request_id, fingerprint, event_id, purchase_id, $1 FROM again
), addressed AS (
    INSERT INTO contacts (event_id, purchase_id, email)
    SELECT DISTINCT ON (event_id, purchase_id) event_id, purchase_id, email FROM again WHERE email <> ''
    ORDER BY event_id, purchase_id, n DESC
    ON CONFLICT (event_id, purchase_id) DO UPDATE SET email = excluded.email
)
UPDATE purchases SET metadata = latest.metadata::jsonb, language = latest.language
FROM (
    SELECT DISTINCT ON (event_id, purchase_id) event_id, purchase_id, metadata, language FROM again
    ORDER BY event_id, purchase_id, n DESC
) AS latest
WHERE purchases.event_id = latest.event_id AND purchases.purchase_id = latest.purchase_id
"""
_EXECUTE_AGAIN: Final = f"EXECUTE hold_again({', '.join(['%s'] * 9)})"

STATEMENTS: Final = {
    "lock_events": _LOCK,
    "lock_free_events": f"{_LOCK} SKIP LOCKED",
    "read_counters": _COUNTERS,
    "read_events": READ_EVENTS,
    "read_sales": _READ,
    "write_sales": _WRITE,
    "hold_again": _HOLD_AGAIN,
}


@dataclass(frozen=True, slots=True)
class NewSales:
    """The sales of a batch to write, the digests of all their tickets in order, and the orders that got an earlier hold."""

    sales: Sequence[Sale]
    digests: Sequence[Digests]
    again: Sequence[HeldAgain]


async def load_batch(
    connection: LoopConnection, known: KnownEvents, orders: Sequence[Order], context: SaleContext, *, wait: bool
) -> SalesBatch:
    """Lock the event rows of a batch; load their counters, and the recorded facts of its orders and their customers.

    Args:
        connection: has prepared STATEMENTS.
        known: the events of the batches before.
        orders: the orders of the batch.
        context: the bounds that select the customers to load.
        wait: wait for rows that another transaction has locked. Otherwise the batch reads them without a lock and
            lists them in `skipped`.
    """
    event_ids = ids({order.event_id for order in orders})
    lock = "lock_events" if wait else "lock_free_events"
    locked = await connection.round_trip(f"BEGIN; EXECUTE {lock}(%s)", [event_ids])
    rows = locked if wait else await connection.round_trip("EXECUTE read_counters(%s)", [event_ids])
    events = await known.read(connection, {event_id: version for event_id, version, _, _ in rows})
    priced = {event.event_id for event in events if event.ticket_price > 0}
    bounded = {event.event_id for event in events if counts_tickets(event.max_tickets_per_customer, context.customers)}
    customers = [parameters_of(order.customer) for order in orders]
    are_unpaid = [order.customer is not None and order.payment_id is None for order in orders]
    since = oldest_hold(context.now, context.customers.unpaid_window, context.hold)
    recorded = await connection.round_trip(
        f"EXECUTE read_sales({', '.join(['%s'] * 11)})",
        [
            array(order.caller for order in orders),
            ids([order.request_id for order in orders]),
            array(order.payment_id for order in orders),
            event_ids,
            ids([order.event_id for order in orders]),
            array(user_id for user_id, _ in customers),
            array(address for _, address in customers),
            array(is_unpaid and order.event_id in priced for order, is_unpaid in zip(orders, are_unpaid, strict=True)),
            array(are_unpaid),
            array(order.customer is not None and order.event_id in bounded for order in orders),
            first_id_of(since).hex,
        ],
    )
    inventories = {event.event_id: Inventory(event) for event in events}
    for event_id, _, reserved, revision in rows:
        inventories[event_id].reserved, inventories[event_id].revision = reserved, revision
    holdings: dict[tuple[UUID, Customer], Holdings] = {}
    requests: dict[tuple[str, UUID], Replayed] = {}
    payments: dict[str, UUID] = {}
    for number, fingerprint, event_id, result_id, paid_by, unpaid, valid, ticket_type, reserved in recorded:
        if number is None:
            inventories[event_id].offers_reserved[TicketType(ticket_type)] = reserved
            continue
        order = orders[number - 1]
        if fingerprint is not None:
            requests[order.caller, order.request_id] = Replayed(event_id, result_id, bytes(fingerprint))
        if paid_by is not None and order.payment_id is not None:
            payments[order.payment_id] = paid_by
        if order.customer is not None:
            holdings[order.event_id, order.customer] = holdings_of(unpaid, valid)
    own = {event_id for event_id, _, _, _ in locked}
    return SalesBatch(inventories, requests, payments, frozenset(inventories.keys() - own), holdings)


async def commit_batch(connection: LoopConnection, batch: SalesBatch, new: NewSales, now: datetime) -> None:
    """Write the sales of a batch and commit; without sales, roll back to unlock the events."""
    statements, arguments = [], []
    if new.sales:
        statements, arguments = [_EXECUTE_WRITE], _write_arguments(batch, new, now)
    if new.again:
        statements.append(_EXECUTE_AGAIN)
        arguments += _again_arguments(new.again, now)
    await connection.round_trip("; ".join([*statements, "COMMIT" if statements else "ROLLBACK"]), arguments)
    count_sales([(sale.purchase, len(sale.tickets)) for sale in new.sales])


def _write_arguments(batch: SalesBatch, new: NewSales, now: datetime) -> list[object]:
    changed = [batch.inventories[event_id] for event_id in {sale.purchase.event_id for sale in new.sales}]
    counted = [
        (inventory.event.event_id, *offer) for inventory in changed for offer in inventory.offers_reserved.items()
    ]
    return [
        now,
        *_sale_arrays(new.sales),
        *_ticket_arrays([ticket for sale in new.sales for ticket in sale.tickets], new.digests),
        ids([event_id for event_id, _, _ in counted]),
        array([ticket_type for _, ticket_type, _ in counted]),
        array([reserved for _, _, reserved in counted]),
        ids([inventory.event.event_id for inventory in changed]),
        array([inventory.reserved for inventory in changed]),
        array([inventory.revision for inventory in changed]),
    ]


def _again_arguments(again: Sequence[HeldAgain], now: datetime) -> list[object]:
    orders = [one.order for one in again]
    return [
        now,
        ids([order.event_id for order in orders]),
        ids([one.purchase_id for one in again]),
        array([order.email for order in orders]),
        array([_json(order.metadata) for order in orders]),
        array([order.language for order in orders]),
        array([order.caller for order in orders]),
        ids([order.request_id for order in orders]),
        binaries([order.fingerprint for order in orders]),
    ]


def _sale_arrays(sales: Sequence[Sale]) -> list[str]:
    orders, purchases = [sale.order for sale in sales], [sale.purchase for sale in sales]
    # A new purchase causes at most one notification.
    # The statement has one notification for each sale.
    notified = [notification for sale in sales for [notification] in [sale.notifications or (None,)]]
    return [
        ids([purchase.event_id for purchase in purchases]),
        ids([purchase.purchase_id for purchase in purchases]),
        array([purchase.user_id for purchase in purchases]),
        array([_items(purchase.items) for purchase in purchases]),
        array([purchase.currency for purchase in purchases]),
        array([purchase.total for purchase in purchases]),
        array([purchase.provider for purchase in purchases]),
        array([purchase.payment_id for purchase in purchases]),
        array([_json(purchase.metadata) for purchase in purchases]),
        array([order.email for order in orders]),
        array([order.caller for order in orders]),
        ids([order.request_id for order in orders]),
        binaries([order.fingerprint for order in orders]),
        array([purchase.status for purchase in purchases]),
        times([purchase.complete_time for purchase in purchases]),
        times([purchase.hold_expire_time for purchase in purchases]),
        times([purchase.due_time for purchase in purchases]),
        array([purchase.payment_method for purchase in purchases]),
        array([purchase.event_version for purchase in purchases]),
        ids([new_id() if notification else None for notification in notified]),
        array([notification.kind if notification else None for notification in notified]),
        array([json.dumps(notification.data) if notification else None for notification in notified]),
        array([purchase.is_guest for purchase in purchases]),
        array([purchase.language for purchase in purchases]),
    ]


def _ticket_arrays(tickets: Sequence[Ticket], digests: Sequence[Digests]) -> list[str]:
    return [
        ids([ticket.event_id for ticket in tickets]),
        ids([ticket.ticket_id for ticket in tickets]),
        ids([ticket.purchase_id for ticket in tickets]),
        array([ticket.user_id for ticket in tickets]),
        array([ticket.ticket_type for ticket in tickets]),
        array([ticket.price for ticket in tickets]),
        times([ticket.valid_from_time for ticket in tickets]),
        times([ticket.valid_until_time for ticket in tickets]),
        array([ticket.revision for ticket in tickets]),
        binaries([its.code for its in digests]),
        binaries([its.token for its in digests]),
    ]


def _json(metadata: Mapping[str, object]) -> str:
    return json.dumps(metadata) if metadata else "{}"


@lru_cache(maxsize=256)
def _items(items: tuple[Item, ...]) -> str:
    return json.dumps([[item.ticket_type, item.quantity, item.unit_price] for item in items])
