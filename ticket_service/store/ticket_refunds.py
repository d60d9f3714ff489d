"""Statements on refunds of a part of a ticket's price without a cancellation."""

from dataclasses import asdict
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.ticket_refunds import Payer, TicketRefund, TicketRefundStatus
from ticket_service.store.access import ANY, Condition
from ticket_service.store.tables import cancellations, events, payments, ticket_refunds, tickets


def insert(connection: Connection, refund: TicketRefund) -> None:
    """Insert a refund of a locked ticket, and add its amount to the ticket."""
    connection.execute(sa.insert(ticket_refunds).values(asdict(refund)))
    its = (tickets.c.event_id == refund.event_id, tickets.c.ticket_id == refund.ticket_id)
    connection.execute(sa.update(tickets).where(*its).values(refunded=tickets.c.refunded + refund.amount))


def find(connection: Connection, event_id: UUID, ticket_refund_id: UUID) -> TicketRefund:
    """Read a refund that exists."""
    its = (ticket_refunds.c.event_id == event_id, ticket_refunds.c.ticket_refund_id == ticket_refund_id)
    row = connection.execute(sa.select(ticket_refunds).where(*its)).one()
    return TicketRefund(**row._asdict() | {"status": TicketRefundStatus(row.status)})


def lock(connection: Connection, ticket_refund_id: UUID, condition: Condition = ANY) -> TicketRefund | None:
    """Lock a refund until the transaction ends; the condition may be on its event."""
    query = (
        sa.select(ticket_refunds)
        .join(events, events.c.event_id == ticket_refunds.c.event_id)
        .where(ticket_refunds.c.ticket_refund_id == ticket_refund_id, condition)
        .with_for_update(key_share=True, of=ticket_refunds)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else TicketRefund(**row._asdict() | {"status": TicketRefundStatus(row.status)})


def update(connection: Connection, refund: TicketRefund) -> None:
    """Update a locked refund."""
    its = (
        ticket_refunds.c.event_id == refund.event_id,
        ticket_refunds.c.ticket_refund_id == refund.ticket_refund_id,
    )
    connection.execute(sa.update(ticket_refunds).where(*its).values(asdict(refund)))


def find_payer(connection: Connection, event_id: UUID, purchase_id: UUID) -> Payer | None:
    """Return the payment that completed a purchase; None: the purchase was free."""
    its = (payments.c.event_id == event_id, payments.c.purchase_id == purchase_id, sa.not_(payments.c.refund_due))
    row = connection.execute(sa.select(payments.c.provider, payments.c.payment_id).where(*its)).one_or_none()
    return None if row is None else Payer(*row)


def cancelled_amount(connection: Connection, event_id: UUID, ticket_id: UUID) -> int:
    """Return what the cancellation of a ticket refunds, made or due; 0 without one."""
    its = (
        cancellations.c.event_id == event_id,
        cancellations.c.ticket_id == ticket_id,
        cancellations.c.status != "REJECTED",
    )
    amount: int | None = connection.execute(sa.select(cancellations.c.refund_amount).where(*its)).scalar_one_or_none()
    return amount or 0
