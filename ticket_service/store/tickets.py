"""Statements on tickets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import AdmissionPolicy, Event, TicketType
from ticket_service.domain.secrets import Digests
from ticket_service.domain.tickets import SoldTicket, Ticket, TicketStatus
from ticket_service.store.events import list_events
from ticket_service.store.tables import cancellations, events, purchases, tickets
from ticketing.chassis.authentication import Caller, Role

Condition = sa.ColumnElement[bool]

ANY: Final[Condition] = sa.true()
_CHANGING: Final = ("status", "user_id", "issue", "revision", "update_time")

_IS_USED: Final = sa.and_(
    tickets.c.status == TicketStatus.ACTIVE,
    tickets.c.check_in_time.is_not(None),
    events.c.admission_policy == AdmissionPolicy.SINGLE_ENTRY,
)
_VALID_UNTIL: Final = sa.func.coalesce(tickets.c.valid_until_time, events.c.end_time)
_SOLD: Final = (
    sa.select(
        tickets,
        purchases.c.user_id.label("buyer_id"),
        purchases.c.payment_id,
        purchases.c.metadata,
        cancellations.c.cancellation_id,
    )
    .join(events, events.c.event_id == tickets.c.event_id)
    .join(
        purchases,
        sa.and_(purchases.c.event_id == tickets.c.event_id, purchases.c.purchase_id == tickets.c.purchase_id),
    )
    .outerjoin(
        cancellations,
        sa.and_(
            cancellations.c.event_id == tickets.c.event_id,
            cancellations.c.ticket_id == tickets.c.ticket_id,
            cancellations.c.status != "REJECTED",
        ),
    )
)


def has_id(ticket_id: UUID) -> Condition:
    """Say which ticket it is."""
    return tickets.c.ticket_id == ticket_id


def visible_to(caller: Caller) -> Condition:
    """Say whose tickets the caller may see: a service all, an organizer those of their events, everyone their own."""
    if caller.is_any(Role.SERVICE):
        return sa.true()
    own = tickets.c.user_id == caller.subject
    return sa.or_(own, events.c.organizer_id == caller.subject) if caller.is_any(Role.ORGANIZER) else own


def of_user(caller: Caller, user_id: str) -> Condition:
    """Say whose tickets a list is of; "": the caller's, or all that an organizer or a service may see."""
    if user_id:
        return tickets.c.user_id == user_id
    return sa.true() if caller.is_any(Role.ORGANIZER, Role.SERVICE) else tickets.c.user_id == caller.subject


def has_status(status: TicketStatus, now: datetime) -> Condition:
    """Say which tickets have a status as of `now`; USED and EXPIRED are never stored."""
    match status:
        case TicketStatus.USED:
            return _IS_USED
        case TicketStatus.ACTIVE:
            return sa.and_(tickets.c.status == TicketStatus.ACTIVE, sa.not_(_IS_USED), now <= _VALID_UNTIL)
        case TicketStatus.EXPIRED:
            return sa.and_(tickets.c.status == TicketStatus.ACTIVE, sa.not_(_IS_USED), now > _VALID_UNTIL)
        case _:
            return tickets.c.status == status


def derived_status(now: datetime) -> sa.ColumnElement[str]:
    """Give the status of a ticket as of `now`."""
    is_derived = (TicketStatus.USED, TicketStatus.EXPIRED)
    derived = [(has_status(status, now), sa.literal(status.value)) for status in is_derived]
    return sa.case(*derived, else_=tickets.c.status)


def find_tickets(connection: Connection, conditions: Sequence[Condition], limit: int | None = None) -> list[SoldTicket]:
    """Read tickets, newest first."""
    query = _SOLD.where(*conditions).order_by(tickets.c.ticket_id.desc()).limit(limit)
    rows = connection.execute(query).all()
    event_ids = {row.event_id for row in rows}
    # Once each, not beside every ticket: descriptions are long.
    found = list_events(connection, [events.c.event_id.in_(event_ids)], None, len(event_ids)) if rows else []
    by_id = {event.event_id: event for event in found}
    return [_sold(row, by_id[row.event_id]) for row in rows]


def find_ticket(connection: Connection, ticket_id: UUID) -> SoldTicket:
    """Read one ticket that there is."""
    return find_tickets(connection, [has_id(ticket_id)])[0]


def lock_ticket(connection: Connection, ticket_id: UUID, condition: Condition = ANY) -> SoldTicket | None:
    """Read one ticket and keep others from changing it until the transaction ends."""
    own = (has_id(ticket_id), condition)
    lock = sa.select(tickets.c.ticket_id).join(events, events.c.event_id == tickets.c.event_id).where(*own)
    connection.execute(lock.with_for_update(key_share=True, of=tickets))
    # Read only now: what another transaction changed while this one waited for the lock is seen.
    found = find_tickets(connection, own)
    return found[0] if found else None


def update_ticket(connection: Connection, ticket: Ticket, digests: Digests | None = None) -> None:
    """Store what changes of a ticket over what there is of it; it is locked by us.

    Args:
        connection: in a transaction.
        ticket: the ticket.
        digests: of its code and token, where they change too.
    """
    changes = {name: getattr(ticket, name) for name in _CHANGING}
    if digests is not None:
        changes |= {"code_digest": digests.code, "token_digest": digests.token}
    its = (tickets.c.event_id == ticket.event_id, tickets.c.ticket_id == ticket.ticket_id)
    connection.execute(sa.update(tickets).where(*its).values(changes))


def _sold(row: Row[Any], event: Event) -> SoldTicket:
    ticket = Ticket(
        ticket_id=row.ticket_id,
        event_id=row.event_id,
        purchase_id=row.purchase_id,
        user_id=row.user_id,
        ticket_type=TicketType(row.ticket_type),
        status=TicketStatus(row.status),
        price=row.price,
        valid_from_time=row.valid_from_time,
        valid_until_time=row.valid_until_time,
        check_in_time=row.check_in_time,
        issue=row.issue,
        revision=row.revision,
        create_time=row.create_time,
        update_time=row.update_time,
    )
    return SoldTicket(ticket, event, row.buyer_id, row.payment_id or "", row.metadata, row.cancellation_id)
