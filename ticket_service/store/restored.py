"""Statements that compare a restored database with what others have, and insert what it lost."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.events import TicketType
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.recovery import OwnTicket
from ticket_service.domain.tickets import TicketStatus
from ticket_service.store.tables import (
    cancellations,
    events,
    offers,
    outside_refunds,
    payments,
    purchases,
    reconciliation_progress,
    reconciliation_queue,
    refund_orders,
    reissues,
    tickets,
    unmatched_payments,
)

_PURCHASE_COLUMNS: Final = tuple(field.name for field in fields(Purchase) if field.name not in {"items", "metadata"})


def missing_tickets(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the ids that no ticket of the event has."""
    query = sa.select(tickets.c.ticket_id).where(tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids))
    return set(ticket_ids) - set(connection.execute(query).scalars())


def lock_tickets(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> dict[UUID, OwnTicket]:
    """Lock tickets in the order of their ids; return them as they are compared."""
    its = (tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids))
    query = sa.select(tickets).where(*its).order_by(tickets.c.ticket_id).with_for_update(key_share=True)
    rows = connection.execute(query).all()
    pending = sa.select(cancellations.c.ticket_id).where(
        cancellations.c.event_id == event_id,
        cancellations.c.ticket_id.in_(ticket_ids),
        cancellations.c.status == "PENDING",
    )
    cancelling = set(connection.execute(pending).scalars())
    reissuing = sa.select(reissues.c.ticket_id, reissues.c.issue).where(
        reissues.c.event_id == event_id, reissues.c.ticket_id.in_(ticket_ids), reissues.c.status == "PENDING"
    )
    issues = {row.ticket_id: row.issue for row in connection.execute(reissuing)}
    return {
        row.ticket_id: OwnTicket(
            row.ticket_id,
            TicketStatus(row.status),
            row.issue,
            row.revision,
            row.check_in_sequence,
            row.ticket_id in cancelling,
            issues.get(row.ticket_id),
        )
        for row in rows
    }


def payments_of(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> dict[UUID, tuple[str, str]]:
    """Return the provider and the id of the payment of each ticket that was paid."""
    query = (
        sa.select(tickets.c.ticket_id, payments.c.provider, payments.c.payment_id)
        .join(
            payments,
            sa.and_(payments.c.event_id == tickets.c.event_id, payments.c.purchase_id == tickets.c.purchase_id),
        )
        .where(tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids), ~payments.c.refund_due)
    )
    return {row.ticket_id: (row.provider, row.payment_id) for row in connection.execute(query)}


def open_purchases(connection: Connection, event_id: UUID) -> list[UUID]:
    """Return the purchases of an event that have no tickets and may have got some after the restored moment."""
    statuses = (PurchaseStatus.HELD, PurchaseStatus.EXPIRED, PurchaseStatus.RELEASED, PurchaseStatus.DECLINED)
    query = sa.select(purchases.c.purchase_id).where(purchases.c.event_id == event_id, purchases.c.status.in_(statuses))
    return list(connection.execute(query).scalars())


def known_purchases(connection: Connection, purchase_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the ids that a purchase has."""
    query = sa.select(purchases.c.purchase_id).where(purchases.c.purchase_id.in_(list(purchase_ids)))
    return set(connection.execute(query).scalars())


def recorded_payments(connection: Connection, provider: str, payment_ids: Iterable[str]) -> set[str]:
    """Return those of the ids that a payment has."""
    its = (payments.c.provider == provider, payments.c.payment_id.in_(list(payment_ids)))
    return set(connection.execute(sa.select(payments.c.payment_id).where(*its)).scalars())


def known_orders(connection: Connection, order_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the ids that a refund order has."""
    query = sa.select(refund_orders.c.order_id).where(refund_orders.c.order_id.in_(list(order_ids)))
    return set(connection.execute(query).scalars())


def purchase_of_payment(connection: Connection, provider: str, payment_id: str) -> tuple[UUID, UUID, int] | None:
    """Return the event and the purchase that a payment pays, and its amount; None: it is not recorded."""
    its = (payments.c.provider == provider, payments.c.payment_id == payment_id, ~payments.c.refund_due)
    query = sa.select(payments.c.event_id, payments.c.purchase_id, payments.c.amount).where(*its)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.event_id, row.purchase_id, row.amount)


def is_outside_refund(connection: Connection, event_id: UUID, provider: str, refund_id: str) -> bool:
    """Return whether a refund is recorded as one without an order."""
    its = (
        outside_refunds.c.event_id == event_id,
        outside_refunds.c.provider == provider,
        outside_refunds.c.refund_id == refund_id,
    )
    return connection.execute(sa.select(sa.exists().where(*its))).scalar_one()


def insert_purchase(connection: Connection, purchase: Purchase) -> None:
    """Insert a purchase of a locked event."""
    values: dict[str, object] = {name: getattr(purchase, name) for name in _PURCHASE_COLUMNS}
    items = [[item.ticket_type, item.quantity, item.unit_price] for item in purchase.items]
    connection.execute(sa.insert(purchases).values(**values, items=items, metadata=dict(purchase.metadata)))


def raise_capacity(
    connection: Connection, event_id: UUID, reserved: int, offers_reserved: Mapping[TicketType, int]
) -> bool:
    """Raise the capacity of a locked event and of its offers where more places are reserved; return whether it was."""
    too_small = (events.c.event_id == event_id, events.c.max_participants < reserved)
    raised = connection.execute(sa.update(events).where(*too_small).values(max_participants=reserved)).rowcount
    for ticket_type, count in offers_reserved.items():
        its = (offers.c.event_id == event_id, offers.c.ticket_type == ticket_type, offers.c.capacity < count)
        raised += connection.execute(sa.update(offers).where(*its).values(capacity=count)).rowcount
    if raised:
        # The processes that know the event know the capacities of its version.
        its_event = sa.update(events).where(events.c.event_id == event_id)
        connection.execute(its_event.values(version=events.c.version + 1))
    return raised > 0


def block_tickets(connection: Connection, event_id: UUID, purchase_id: UUID, revision: int, now: datetime) -> int:
    """Block the valid tickets of a purchase of a locked event, each at a revision after `revision`; return how many."""
    its = (
        tickets.c.event_id == event_id,
        tickets.c.purchase_id == purchase_id,
        tickets.c.status == TicketStatus.ACTIVE,
        tickets.c.check_in_time.is_(None),
    )
    query = sa.select(tickets.c.ticket_id).where(*its).order_by(tickets.c.ticket_id).with_for_update(key_share=True)
    ids = list(connection.execute(query).scalars())
    for place, ticket_id in enumerate(ids, start=1):
        changes = {"status": TicketStatus.BLOCKED, "revision": revision + place, "update_time": now}
        its_key = (tickets.c.event_id == event_id, tickets.c.ticket_id == ticket_id)
        connection.execute(sa.update(tickets).where(*its_key).values(changes))
    return len(ids)


def begin_whole_look(connection: Connection, providers: Sequence[str], now: datetime) -> None:
    """Let the reconciler read everything of these providers again, and compare the payments that wait at once."""
    anew = {
        "due_time": now,
        "begin_time": None,
        "after": None,
        "since": None,
        "success_time": None,
        "whole_success_time": None,
        "failures": 0,
    }
    its = reconciliation_progress.c.provider.in_(providers)
    connection.execute(sa.update(reconciliation_progress).where(its).values(anew))
    queued = reconciliation_queue.c.provider.in_(providers)
    connection.execute(sa.update(reconciliation_queue).where(queued).values(due_time=now))


def unfinished_looks(connection: Connection, providers: Sequence[str]) -> int:
    """Count the providers whose look has not ended, and the payments that are still to be compared."""
    progress, queue = reconciliation_progress.c, reconciliation_queue.c
    ended = sa.select(sa.func.count()).where(progress.provider.in_(providers), progress.whole_success_time.is_not(None))
    queued = sa.select(sa.func.count()).where(queue.provider.in_(providers))
    looking = len(providers) - int(connection.execute(ended).scalar_one())
    return looking + int(connection.execute(queued).scalar_one())


def used_providers(connection: Connection) -> set[str]:
    """Return the names of the providers of payments and of held purchases."""
    held = sa.select(purchases.c.provider).where(purchases.c.status == PurchaseStatus.HELD)
    return set(connection.execute(sa.select(payments.c.provider).union(held)).scalars())


def list_unmatched(connection: Connection) -> list[sa.Row[tuple[object, ...]]]:
    """Read the captured payments without a purchase that nobody has refunded in full."""
    query = sa.select(unmatched_payments).where(unmatched_payments.c.refunded < unmatched_payments.c.amount)
    return list(connection.execute(query.order_by(unmatched_payments.c.payment_id)))


def as_details(**facts: object) -> dict[str, object]:
    """Return facts as JSON has them."""
    return dict(json.loads(json.dumps(facts, default=str)))
