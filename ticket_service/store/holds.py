"""Statements on held purchases, and on payments to refund."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import zip_longest
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from ticket_service.domain.holds import Payment, PaymentResult
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.sales import Inventory
from ticket_service.domain.secrets import Digests
from ticket_service.domain.tickets import Ticket
from ticket_service.store.purchases import purchase_of
from ticket_service.store.tables import events, offers, payments, purchases, tickets

_CHANGING: Final = (
    "status",
    "provider",
    "payment_id",
    "complete_time",
    "due_time",
    "payment_method",
    "client_secret",
    "decline_code",
)


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
    its = (purchases.c.event_id == purchase.event_id, purchases.c.purchase_id == purchase.purchase_id)
    connection.execute(sa.update(purchases).where(*its).values({name: getattr(purchase, name) for name in _CHANGING}))


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


def paid_purchase(connection: Connection, payment: Payment) -> UUID | None:
    """Return the purchase of a recorded payment; None: the payment is not recorded."""
    query = sa.select(payments.c.purchase_id).where(
        payments.c.provider == payment.provider, payments.c.payment_id == payment.payment_id
    )
    found: UUID | None = connection.execute(query).scalar_one_or_none()
    return found


def insert_payment(connection: Connection, payment: Payment, result: PaymentResult, now: datetime) -> bool:
    """Insert a payment; return False if it is recorded already.

    The statement waits for another transaction that is recording the same payment.
    """
    currency, amount = payment.paid
    inserted = connection.execute(
        insert(payments)
        .values(
            provider=payment.provider,
            payment_id=payment.payment_id,
            event_id=result.purchase.event_id,
            purchase_id=result.purchase.purchase_id,
            currency=currency,
            amount=amount,
            refund_due=result.refund_due,
            create_time=now,
        )
        .on_conflict_do_nothing()
    )
    return inserted.rowcount == 1


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
