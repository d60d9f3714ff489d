"""Statements on held purchases, and on payments to refund."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import zip_longest
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.holds import Payment, PaymentResult
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.sales import Inventory
from ticket_service.domain.secrets import Digests
from ticket_service.domain.tickets import Ticket
from ticket_service.store.purchases import purchase_of
from ticket_service.store.tables import events, offers, payments, purchases, tickets
from ticketing.chassis.arrays import array, ids, times

_CHANGING_TEXTS: Final = ("status", "provider", "payment_id", "payment_method", "client_secret", "decline_code")

_UPDATE_PURCHASES: Final = sa.text("""
    UPDATE purchases
    SET status = new.status, provider = new.provider, payment_id = new.payment_id, complete_time = new.complete_time,
        due_time = new.due_time, payment_method = new.payment_method, client_secret = new.client_secret,
        decline_code = new.decline_code
    FROM unnest(
        CAST(:purchase_ids AS uuid[]), CAST(:status AS text[]), CAST(:provider AS text[]),
        CAST(:payment_id AS text[]), CAST(:complete_times AS timestamptz[]), CAST(:due_times AS timestamptz[]),
        CAST(:payment_method AS text[]), CAST(:client_secret AS text[]), CAST(:decline_code AS text[])
    ) AS new (purchase_id, status, provider, payment_id, complete_time, due_time, payment_method, client_secret,
              decline_code)
    WHERE purchases.event_id = :event_id AND purchases.purchase_id = new.purchase_id
""")
# Two transactions that insert the same payments wait for each other in one order.
_INSERT_PAYMENTS: Final = sa.text("""
    INSERT INTO payments (provider, payment_id, event_id, purchase_id, currency, amount, refund_due, create_time)
    SELECT provider, payment_id, :event_id, purchase_id, currency, amount, refund_due, :now
    FROM unnest(
        CAST(:providers AS text[]), CAST(:payment_ids AS text[]), CAST(:purchase_ids AS uuid[]),
        CAST(:currencies AS text[]), CAST(:amounts AS bigint[]), CAST(:refunds_due AS boolean[])
    ) AS new (provider, payment_id, purchase_id, currency, amount, refund_due)
    ORDER BY provider, payment_id
    ON CONFLICT DO NOTHING
    RETURNING provider, payment_id
""")
_PAID_PURCHASES: Final = sa.text("""
    SELECT payments.provider, payments.payment_id, payments.purchase_id
    FROM unnest(CAST(:providers AS text[]), CAST(:payment_ids AS text[])) AS wanted (provider, payment_id)
    JOIN payments USING (provider, payment_id)
""")

# The provider of a payment and its id there.
PaymentKey = tuple[str, str]


def lock_purchases(connection: Connection, event_id: UUID, purchase_ids: Sequence[UUID]) -> list[Purchase]:
    """Lock purchases of a locked event in the order of their ids."""
    query = (
        sa.select(purchases)
        .where(purchases.c.event_id == event_id, purchases.c.purchase_id.in_(purchase_ids))
        .order_by(purchases.c.purchase_id)
        .with_for_update(key_share=True)
    )
    return [purchase_of(row) for row in connection.execute(query)]


def claim_due(connection: Connection, provider: str, now: datetime, until: datetime, limit: int) -> list[Purchase]:
    """Claim due HELD purchases of one provider: no other process handles them before `until`.

    Purchases whose hold is over, new ones, and those whose charge waits for a buyer or a bank take turns: a backlog of
    one class delays no other. The returned purchases have their state before the claim. Their rows do not stay locked,
    because a change of a purchase locks the row of its event first.
    """
    is_over, is_new = purchases.c.hold_expire_time <= now, purchases.c.payment_id.is_(None)
    classes = (is_over, sa.and_(~is_over, is_new), sa.and_(~is_over, ~is_new))
    its = (purchases.c.due_time <= now, purchases.c.provider == provider)
    due = [
        [
            purchase_of(row)
            for row in connection.execute(
                sa.select(purchases)
                .where(*its, of_class)
                .order_by(purchases.c.due_time)
                .limit(limit)
                .with_for_update(key_share=True, skip_locked=True)
            )
        ]
        for of_class in classes
    ]
    found = [purchase for turn in zip_longest(*due) for purchase in turn if purchase is not None][:limit]
    if found:
        _claim(connection, found, until)
    return found


def claim_ended_of_others(
    connection: Connection, providers: Sequence[str], now: datetime, until: datetime, limit: int
) -> list[Purchase]:
    """Claim due HELD purchases whose hold is over and whose provider is none of `providers`, until `until`."""
    query = (
        sa.select(purchases)
        .where(purchases.c.due_time <= now, purchases.c.hold_expire_time <= now, purchases.c.provider.not_in(providers))
        .order_by(purchases.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    found = [purchase_of(row) for row in connection.execute(query)]
    if found:
        _claim(connection, found, until)
    return found


def _claim(connection: Connection, found: Sequence[Purchase], until: datetime) -> None:
    ids = [(purchase.event_id, purchase.purchase_id) for purchase in found]
    claimed = sa.tuple_(purchases.c.event_id, purchases.c.purchase_id).in_(ids)
    connection.execute(sa.update(purchases).where(claimed).values(due_time=until))


def update_purchase(connection: Connection, purchase: Purchase) -> None:
    """Update a locked purchase."""
    update_purchases(connection, [purchase])


def update_purchases(connection: Connection, changed: Sequence[Purchase]) -> None:
    """Update locked purchases of one event."""
    if not changed:
        return
    columns = {
        "purchase_ids": ids(purchase.purchase_id for purchase in changed),
        "complete_times": times([purchase.complete_time for purchase in changed]),
        "due_times": times([purchase.due_time for purchase in changed]),
        **{name: array([getattr(purchase, name) for purchase in changed]) for name in _CHANGING_TEXTS},
    }
    connection.execute(_UPDATE_PURCHASES, {"event_id": changed[0].event_id, **columns})


def update_counters(connection: Connection, inventory: Inventory) -> None:
    """Update the reserved places and the revision of a locked event."""
    event = inventory.event
    counters = {"reserved": inventory.reserved, "revision": inventory.revision}
    connection.execute(sa.update(events).where(events.c.event_id == event.event_id).values(counters))
    for offer in event.offers:
        reserved = inventory.offers_reserved[offer.ticket_type]
        if reserved != offer.reserved:
            its = (offers.c.event_id == event.event_id, offers.c.ticket_type == offer.ticket_type)
            connection.execute(sa.update(offers).where(*its).values(reserved=reserved))


def insert_tickets(connection: Connection, new: Sequence[Ticket], digests: Mapping[UUID, Digests]) -> None:
    """Insert tickets of a locked event."""
    if not new:
        return
    names = [field.name for field in fields(Ticket)]
    rows = [
        {name: getattr(ticket, name) for name in names}
        | {
            "check_in_sequence": 0,
            "code_digest": digests[ticket.ticket_id].code,
            "token_digest": digests[ticket.ticket_id].token,
        }
        for ticket in new
    ]
    connection.execute(sa.insert(tickets), rows)


def key_of(payment: Payment) -> PaymentKey:
    """Return the key of a payment."""
    return payment.provider, payment.payment_id


def paid_purchase(connection: Connection, payment: Payment) -> UUID | None:
    """Return the purchase of a recorded payment; None: the payment is not recorded."""
    return paid_purchases(connection, [payment]).get(key_of(payment))


def paid_purchases(connection: Connection, wanted: Sequence[Payment]) -> dict[PaymentKey, UUID]:
    """Return the purchases of those payments that are recorded."""
    columns = {
        "providers": array([payment.provider for payment in wanted]),
        "payment_ids": array([payment.payment_id for payment in wanted]),
    }
    return {(row.provider, row.payment_id): row.purchase_id for row in connection.execute(_PAID_PURCHASES, columns)}


def insert_payment(connection: Connection, payment: Payment, result: PaymentResult, now: datetime) -> bool:
    """Insert a payment; return False if it is recorded already."""
    return not insert_payments(connection, [(payment, result)], now)


def insert_payments(
    connection: Connection, paid: Sequence[tuple[Payment, PaymentResult]], now: datetime
) -> list[Payment]:
    """Insert different payments of purchases of one event; return those that are recorded already.

    The statement waits for other transactions that are recording the same payments.
    """
    if not paid:
        return []
    columns = {
        "providers": array([payment.provider for payment, _ in paid]),
        "payment_ids": array([payment.payment_id for payment, _ in paid]),
        "purchase_ids": ids(result.purchase.purchase_id for _, result in paid),
        "currencies": array([payment.paid[0] for payment, _ in paid]),
        "amounts": array([payment.paid[1] for payment, _ in paid]),
        "refunds_due": array([result.refund_due for _, result in paid]),
    }
    event_id = paid[0][1].purchase.event_id
    rows = connection.execute(_INSERT_PAYMENTS, {"event_id": event_id, "now": now, **columns})
    inserted = {(row.provider, row.payment_id) for row in rows}
    return [payment for payment, _ in paid if key_of(payment) not in inserted]


@dataclass(frozen=True, slots=True)
class RefundDue:
    """A payment to refund, and the id of its refund, if made."""

    payment: Payment
    refund_id: str | None


def refunds_due(connection: Connection, purchase: Purchase) -> list[RefundDue]:
    """Return the payments of a purchase that are to be refunded or were refunded, oldest first."""
    query = (
        sa.select(payments)
        .where(payments.c.event_id == purchase.event_id, payments.c.purchase_id == purchase.purchase_id)
        .where(payments.c.refund_due)
        .order_by(payments.c.create_time, payments.c.payment_id)
    )
    return [
        RefundDue(Payment(row.payment_id, (row.currency, row.amount), row.provider), row.refund_id)
        for row in connection.execute(query)
    ]


def store_refund(connection: Connection, payment: Payment, refund_id: str | None) -> None:
    """Store the refund of a payment; None: the refund is still due."""
    its = (payments.c.provider == payment.provider, payments.c.payment_id == payment.payment_id)
    connection.execute(sa.update(payments).where(*its).values(refund_id=refund_id))


def count_refunds_due(connection: Connection, event_id: UUID) -> int:
    """Count the payments of an event that are to be refunded."""
    query = sa.select(sa.func.count()).where(
        payments.c.event_id == event_id, payments.c.refund_due, payments.c.refund_id.is_(None)
    )
    count: int = connection.execute(query).scalar_one()
    return count
