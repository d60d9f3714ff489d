"""Checks of the invariants: each statement describes every row that breaks an invariant.

The checks derive counters and statuses from other rows than the code that writes them. They do not repeat check
constraints and unique indexes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from ticketing.chassis.connections import open_engine

# The maximum number of breaches shown for one check.
SHOWN: Final = 10

COUNTED: Final = (
    "events",
    "purchases",
    "tickets",
    "payments",
    "refund_orders",
    "ledger",
    "outside_refunds",
    "disputes",
    "unmatched_payments",
    "cancellations",
    "ticket_refunds",
    "reissues",
    "callings_off",
    "idempotency_keys",
)

# Several checks use these views: the reserved places, the settled cancellations, and the orders with credit.
_VIEWS: Final = """
    WITH reserved_places AS (
        SELECT event_id, ticket_type, sum(places) AS places FROM (
            SELECT event_id, ticket_type, count(*) AS places
            FROM tickets WHERE status IN ('ACTIVE', 'BLOCKED') GROUP BY event_id, ticket_type
            UNION ALL
            SELECT event_id, item ->> 0, sum((item ->> 1)::integer)
            FROM purchases, jsonb_array_elements(items) AS item WHERE status = 'HELD' GROUP BY event_id, item ->> 0
        ) AS one GROUP BY event_id, ticket_type
    ), settled AS (
        SELECT * FROM cancellations WHERE status IN ('REFUNDING', 'DONE', 'REFUND_FAILED')
    ), credits AS (
        SELECT event_id, order_id, cancellation_id, provider, payment_id, credited FROM refund_orders
        WHERE credited > 0
    )
"""

CHECKS: Final[dict[str, str]] = {
    "the reserved places of an event are those of its tickets and holds": """
        SELECT format('event %s: %s reserved, %s taken', event_id, reserved, coalesce(places, 0))
        FROM events LEFT JOIN (SELECT event_id, sum(places) AS places FROM reserved_places GROUP BY event_id) AS summed
            USING (event_id)
        WHERE reserved <> coalesce(places, 0)
    """,
    "the reserved places of an offer are those of its tickets and holds": """
        SELECT format('event %s, %s: %s reserved, %s taken', event_id, ticket_type, reserved, coalesce(places, 0))
        FROM offers LEFT JOIN reserved_places USING (event_id, ticket_type)
        WHERE reserved <> coalesce(places, 0)
    """,
    "the total of a purchase is the sum of its items": """
        SELECT format('purchase %s: %s', purchase_id, total)
        FROM purchases CROSS JOIN LATERAL (
            SELECT sum((item ->> 1)::bigint * (item ->> 2)::bigint) AS cost FROM jsonb_array_elements(items) AS item
        ) AS summed
        WHERE total <> cost
    """,
    "a completed purchase has the tickets it paid for, and no other purchase has any": """
        SELECT format('purchase %s: %s', purchase_id, status)
        FROM purchases
        LEFT JOIN (
            SELECT event_id, purchase_id, count(*) AS tickets, sum(price) AS cost FROM tickets
            GROUP BY event_id, purchase_id
        ) AS made USING (event_id, purchase_id)
        CROSS JOIN LATERAL (
            SELECT sum((item ->> 1)::bigint) AS ordered FROM jsonb_array_elements(items) AS item
        ) AS summed
        WHERE CASE WHEN status = 'COMPLETED' THEN tickets IS DISTINCT FROM ordered OR cost <> total
              ELSE tickets IS NOT NULL END
    """,
    "a ticket comes from a purchase": """
        SELECT format('ticket %s', ticket_id)
        FROM tickets LEFT JOIN purchases USING (event_id, purchase_id) WHERE purchases.purchase_id IS NULL
    """,
    "a completed purchase is paid once, and every other payment is to be refunded": """
        SELECT format('purchase %s: %s, %s paid of %s', purchase_id, status, coalesce(kept, 0), total)
        FROM purchases
        LEFT JOIN (
            SELECT event_id, purchase_id, sum(amount) FILTER (WHERE NOT refund_due) AS kept,
                   count(*) FILTER (WHERE refund_due) AS owed,
                   count(*) FILTER (WHERE refund_due AND refund_id IS NULL) AS outstanding
            FROM payments GROUP BY event_id, purchase_id
        ) AS paid USING (event_id, purchase_id)
        WHERE CASE status
              WHEN 'COMPLETED' THEN coalesce(kept, 0) <> total
              WHEN 'REFUNDING' THEN kept IS NOT NULL OR coalesce(outstanding, 0) = 0
              WHEN 'REFUNDED' THEN kept IS NOT NULL OR coalesce(owed, 0) = 0 OR outstanding > 0
              ELSE kept IS NOT NULL OR owed > 0 END
    """,
    "a payment pays an existing purchase": """
        SELECT format('payment %s', payments.payment_id)
        FROM payments LEFT JOIN purchases USING (event_id, purchase_id) WHERE purchases.purchase_id IS NULL
    """,
    "a ticket is cancelled if and only if it has one settled cancellation": """
        SELECT format('ticket %s: %s, %s cancellations', ticket_id, status, coalesce(times, 0))
        FROM tickets LEFT JOIN (
            SELECT event_id, ticket_id, count(*) AS times FROM settled GROUP BY event_id, ticket_id
        ) AS settled_times USING (event_id, ticket_id)
        WHERE coalesce(times, 0) <> CASE WHEN status IN ('CANCELLED', 'REFUNDED') THEN 1 ELSE 0 END
    """,
    "the refunds of a ticket are never more than its price, and the one of its cancellation makes it REFUNDED": """
        SELECT format('ticket %s: %s and %s of %s', ticket_id, coalesce(refund_amount, 0), refunded, price)
        FROM tickets LEFT JOIN settled USING (event_id, ticket_id)
        WHERE coalesce(refund_amount, 0) + refunded > price
           OR (coalesce(refund_amount, 0) > 0) <> (tickets.status = 'REFUNDED')
    """,
    "the refunds of a ticket without a cancellation are those that it counts": """
        SELECT format('ticket %s: %s counted, %s refunded', ticket_id, refunded, coalesce(total, 0))
        FROM tickets FULL JOIN (
            SELECT event_id, ticket_id, sum(amount) AS total FROM ticket_refunds GROUP BY event_id, ticket_id
        ) AS made USING (event_id, ticket_id)
        WHERE refunded IS DISTINCT FROM coalesce(total, 0)
    """,
    "the captured and not refunded money of an event is the worth of its tickets": """
        SELECT format('event %s: %s kept, %s by its tickets', event_id, coalesce(kept, 0), coalesce(worth, 0))
        FROM events
        LEFT JOIN (
            SELECT event_id, sum(amount) AS kept FROM (
                SELECT event_id, amount FROM payments WHERE NOT refund_due
                UNION ALL SELECT event_id, -refund_amount FROM settled
                UNION ALL SELECT event_id, -amount FROM ticket_refunds
            ) AS moved GROUP BY event_id
        ) AS ledger USING (event_id)
        LEFT JOIN (
            SELECT event_id, sum(price - refunded - coalesce(refund_amount, 0)) AS worth
            FROM tickets LEFT JOIN settled USING (event_id, ticket_id)
            GROUP BY event_id
        ) AS sold USING (event_id)
        WHERE coalesce(kept, 0) <> coalesce(worth, 0)
    """,
    "no ticket is both refunded and checked in": """
        SELECT format('ticket %s: %s, checked in at %s', ticket_id, status, check_in_time)
        FROM tickets WHERE status IN ('CANCELLED', 'REFUNDED') AND check_in_time IS NOT NULL
    """,
    "every payment has its entry in the ledger": """
        SELECT format('payment %s: %s taken, %s entered', payment_id, amount, total)
        FROM payments FULL JOIN (
            SELECT provider, payment_id, event_id, purchase_id, sum(amount) AS total FROM ledger WHERE kind = 'CHARGED'
            GROUP BY provider, payment_id, event_id, purchase_id
        ) AS entered USING (provider, payment_id, event_id, purchase_id)
        WHERE amount IS DISTINCT FROM total
    """,
    "every refund has its entry in the ledger": """
        SELECT format('refund %s: %s made, %s entered', refund_id, made.total, entered.total)
        FROM (
            SELECT event_id, refund_id, sum(amount) AS total FROM (
                SELECT event_id, refund_id, refund_amount - coalesce(credited, 0) AS amount
                FROM cancellations LEFT JOIN credits USING (event_id, cancellation_id)
                WHERE status = 'DONE' AND refund_amount > 0
                UNION ALL
                SELECT event_id, refund_id, amount - coalesce(credited, 0)
                FROM payments LEFT JOIN (SELECT * FROM credits WHERE cancellation_id IS NULL) AS credits
                    USING (event_id, provider, payment_id)
                WHERE refund_id IS NOT NULL
                UNION ALL SELECT event_id, refund_id, amount FROM outside_refunds WHERE return_time IS NULL
                UNION ALL
                SELECT event_id, refund_id, amount - coalesce(credited, 0)
                FROM ticket_refunds
                LEFT JOIN (SELECT event_id, order_id AS ticket_refund_id, credited FROM credits) AS credits
                    USING (event_id, ticket_refund_id)
                WHERE status = 'DONE'
            ) AS one GROUP BY event_id, refund_id
        ) AS made FULL JOIN (
            SELECT event_id, refund_id,
                   sum(CASE kind WHEN 'REFUND_RETURNED' THEN -amount ELSE amount END) AS total
            FROM ledger WHERE kind IN ('REFUNDED', 'DISPUTE_LOST', 'REFUND_RETURNED') GROUP BY event_id, refund_id
        ) AS entered USING (event_id, refund_id)
        WHERE coalesce(made.total, 0) <> coalesce(entered.total, 0)
    """,
    "no payment is refunded beyond its amount": """
        SELECT format('payment %s: %s of %s', payment_id, refunded, charged)
        FROM (
            SELECT provider, payment_id, coalesce(sum(amount) FILTER (WHERE kind = 'CHARGED'), 0) AS charged,
                   coalesce(sum(amount) FILTER (WHERE kind = 'REFUNDED'), 0)
                   - coalesce(sum(amount) FILTER (WHERE kind = 'REFUND_RETURNED'), 0) AS refunded
            FROM ledger GROUP BY provider, payment_id
        ) AS moved
        WHERE refunded > charged
    """,
    "refund orders count exactly what outside refunds give, and no money that came back": """
        SELECT format('payment %s: %s counted, %s given', payment_id, coalesce(taken, 0), coalesce(given, 0))
        FROM (
            SELECT event_id, provider, payment_id, sum(credited) AS taken FROM refund_orders
            GROUP BY event_id, provider, payment_id
        ) AS orders FULL JOIN (
            SELECT event_id, provider, payment_id, sum(credited) AS given,
                   sum(credited) FILTER (WHERE return_time IS NOT NULL) AS returned
            FROM outside_refunds GROUP BY event_id, provider, payment_id
        ) AS outside USING (event_id, provider, payment_id)
        WHERE coalesce(taken, 0) <> coalesce(given, 0) OR returned > 0
    """,
    "every charge that was tried has ended, unless its purchase is still held": """
        SELECT format('payment %s of purchase %s: %s', tried.payment_id, tried.purchase_id, status)
        FROM ledger AS tried LEFT JOIN purchases USING (event_id, purchase_id)
        WHERE kind = 'CHARGE_TRIED' AND (status IS DISTINCT FROM 'HELD') <> EXISTS (
            SELECT FROM ledger AS ended
            WHERE ended.event_id = tried.event_id AND ended.purchase_id = tried.purchase_id
              AND ended.payment_id = tried.payment_id AND kind IN ('CHARGED', 'DECLINED', 'WITHDRAWN')
        )
    """,
    "every refund due by a provider has an order of the same amount and progress": """
        SELECT format('purchase %s: %s owed, %s ordered (%s, %s)', purchase_id, owed.amount, orders.amount,
                      owed.status, orders.status)
        FROM (
            SELECT event_id, cancellation_id AS order_key, payments.purchase_id, refund_amount AS amount,
                   CASE cancellations.status WHEN 'REFUNDING' THEN 'PENDING' WHEN 'DONE' THEN 'DONE' ELSE 'FAILED' END
                   AS status
            FROM settled AS cancellations JOIN tickets USING (event_id, ticket_id)
            JOIN payments USING (event_id, purchase_id)
            WHERE refund_amount > 0 AND NOT refund_due AND payments.provider <> 'external'
            UNION ALL
            SELECT event_id, md5(payment_id)::uuid, purchase_id, amount,
                   CASE WHEN refund_id IS NULL THEN 'PENDING' ELSE 'DONE' END
            FROM payments WHERE refund_due AND provider <> 'external'
            UNION ALL
            SELECT event_id, ticket_refund_id, purchase_id, amount,
                   CASE status WHEN 'REFUNDING' THEN 'PENDING' ELSE status END
            FROM ticket_refunds WHERE provider <> 'external'
        ) AS owed FULL JOIN (
            SELECT refund_orders.event_id, coalesce(cancellation_id, ticket_refund_id, md5(refund_orders.payment_id)::uuid)
                   AS order_key, refund_orders.amount, refund_orders.status
            FROM refund_orders LEFT JOIN ticket_refunds
                ON ticket_refunds.event_id = refund_orders.event_id AND ticket_refund_id = order_id
        ) AS orders USING (event_id, order_key)
        WHERE owed.amount IS DISTINCT FROM orders.amount OR owed.status IS DISTINCT FROM orders.status
    """,
    "the tries and the end of a refund order are those in the ledger": """
        SELECT format('order %s: %s, %s tried, %s made, %s refused, %s returned', order_id, status, coalesce(tried, 0),
                      coalesce(made, 0), coalesce(refused, 0), coalesce(returned, 0))
        FROM refund_orders LEFT JOIN (
            SELECT event_id, order_id, count(*) FILTER (WHERE kind = 'REFUND_TRIED') AS tried,
                   count(*) FILTER (WHERE kind = 'REFUNDED') AS made,
                   count(*) FILTER (WHERE kind = 'REFUND_REFUSED') AS refused,
                   count(*) FILTER (WHERE kind = 'REFUND_RETURNED') AS returned
            FROM ledger GROUP BY event_id, order_id
        ) AS entered USING (event_id, order_id)
        WHERE attempts <> coalesce(tried, 0)
           OR coalesce(made, 0) - coalesce(returned, 0)
              <> CASE WHEN status = 'DONE' AND credited < amount THEN 1 ELSE 0 END
           OR coalesce(refused, 0) + coalesce(returned, 0) <> round - CASE status WHEN 'FAILED' THEN 0 ELSE 1 END
    """,
    "the tickets of an event were paid in its currency": """
        SELECT format('purchase %s: %s, event %s: %s', purchase_id, purchases.currency, event_id, events.currency)
        FROM purchases JOIN events USING (event_id)
        WHERE purchases.status = 'COMPLETED' AND purchases.currency <> events.currency
    """,
    "no ticket has a revision beyond that of its event": """
        SELECT format('ticket %s: %s after %s', ticket_id, tickets.revision, events.revision)
        FROM tickets JOIN events USING (event_id) WHERE tickets.revision > events.revision
    """,
    "the issue of a ticket is one more than its reissues": """
        SELECT format('ticket %s: issue %s, %s reissues', ticket_id, issue, coalesce(done, 0))
        FROM tickets LEFT JOIN (
            SELECT event_id, ticket_id, count(*) AS done FROM reissues WHERE status = 'DONE' GROUP BY event_id, ticket_id
        ) AS made USING (event_id, ticket_id)
        WHERE issue <> 1 + coalesce(done, 0)
    """,
    "every idempotency key has a result": """
        SELECT format('request %s of %s', request_id, caller)
        FROM idempotency_keys AS key
        WHERE NOT EXISTS (SELECT FROM events WHERE event_id = result_id)
          AND NOT EXISTS (SELECT FROM purchases WHERE event_id = key.event_id AND purchase_id = result_id)
          AND NOT EXISTS (SELECT FROM reissues WHERE event_id = key.event_id AND reissue_id = result_id)
          AND NOT EXISTS (SELECT FROM ticket_refunds WHERE event_id = key.event_id AND ticket_refund_id = result_id)
    """,
    "an event ends after its tickets were sold": """
        -- A mistyped end: its holders can neither use nor cancel their tickets.
        SELECT format('event %s: ended at %s, %s tickets sold later', event_id, end_time, count(*))
        FROM events JOIN tickets USING (event_id)
        WHERE events.status = 'PUBLISHED' AND tickets.status IN ('ACTIVE', 'BLOCKED') AND tickets.create_time >= end_time
        GROUP BY event_id, end_time
    """,
    "a ticket of a cancelled event is checked in or cancelled": """
        SELECT format('ticket %s: %s', ticket_id, status)
        FROM callings_off JOIN tickets USING (event_id)
        LEFT JOIN (
            SELECT event_id, ticket_id, bool_and(status = 'REJECTED') AS is_rejected
            FROM cancellations GROUP BY event_id, ticket_id
        ) AS its USING (event_id, ticket_id)
        -- A REJECTED cancellation means a check-in, which may not be reported yet; a report with none is an annulment.
        WHERE complete_time IS NOT NULL AND status IN ('ACTIVE', 'BLOCKED') AND check_in_time IS NULL
          AND (is_rejected IS NULL OR is_rejected AND check_in_sequence > 0)
    """,
    "an event is cancelled if and only if its cancellation is recorded": """
        SELECT format('event %s: %s', event_id, status)
        FROM events LEFT JOIN callings_off USING (event_id)
        WHERE (status = 'CANCELLED') <> (callings_off.event_id IS NOT NULL)
    """,
}

# Rows that a person should judge; by themselves they break no promise.
HINTS: Final[dict[str, str]] = {
    # A service before migration 0009 stored no terms of purchases.
    "refunds below the price whose terms at purchase are not known, because the event changed since": """
        SELECT format('ticket %s: %s %% refunded', ticket_id, refund_percent)
        FROM settled JOIN tickets USING (event_id, ticket_id) JOIN purchases USING (event_id, purchase_id)
        JOIN events USING (event_id)
        WHERE event_version IS NULL AND refund_percent < 100 AND price > 0
          AND events.update_time > purchases.create_time
    """,
}


@contextmanager
def snapshot(url: URL) -> Iterator[Connection]:
    """Yield a read-only transaction over one snapshot, with a long timeout and without nested loops."""
    engine = open_engine(url, "ticket_service audit", poolclass=sa.NullPool, isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        for setting in ("transaction_read_only = on", "statement_timeout = '10min'", "enable_nestloop = off"):
            connection.execute(sa.text(f"SET LOCAL {setting}"))
        yield connection


def count(connection: Connection, table: str) -> int:
    """Count the rows of a table."""
    counted: int = connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
    return counted


def breaches(connection: Connection, check: str) -> list[str]:
    """Describe the breaches of a check or the rows of a hint, at most SHOWN."""
    # The driver gets the statement directly: percent signs of format() and colons of casts are no parameters.
    statement = f"{_VIEWS} {(CHECKS | HINTS)[check]} LIMIT {SHOWN}".replace("%", "%%")
    return list(connection.exec_driver_sql(statement).scalars())
