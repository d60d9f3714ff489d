"""Statements that read and change tickets."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.calendar_entries import Holder
from ticket_service.domain.events import AdmissionPolicy, Event, TicketType
from ticket_service.domain.languages import wanted_language
from ticket_service.domain.look_ups import read_search
from ticket_service.domain.queries import TicketQuery
from ticket_service.domain.secrets import Digests
from ticket_service.domain.terms import PastTerms
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket, Ticket, TicketStatus
from ticket_service.store.access import ANY, Condition, ticket_of_user, ticket_visible_to
from ticket_service.store.contacts import purchases_of_address, tickets_of_address
from ticket_service.store.events import find_events
from ticket_service.store.look_ups import MAX_CANDIDATES
from ticket_service.store.look_ups import find_tickets as find_held
from ticket_service.store.past_terms import find_past_terms
from ticket_service.store.tables import cancellations, events, purchases, tickets
from ticket_service.store.users import MAX_OF_USER, wanted_users
from ticketing.chassis.callers import Caller

# The id of an event and that of one of its purchases.
PurchaseKey: TypeAlias = tuple[UUID, UUID]
_STORED: Final = tuple(field.name for field in fields(Ticket))
# A reseller may have thousands for the same hours; a calendar entry shows fewer codes.
MAX_FOR_HOURS: Final = 200
_CHANGING: Final = ("status", "user_id", "issue", "revision", "update_time")

_IS_USED: Final = sa.and_(
    tickets.c.status == TicketStatus.ACTIVE,
    tickets.c.check_in_time.is_not(None),
    events.c.admission_policy == AdmissionPolicy.SINGLE_ENTRY,
)
_VALID_UNTIL: Final = sa.func.coalesce(tickets.c.valid_until_time, events.c.end_time)
_ITS_PURCHASE: Final = sa.and_(
    purchases.c.event_id == tickets.c.event_id, purchases.c.purchase_id == tickets.c.purchase_id
)
_SOLD: Final = (
    sa.select(
        tickets,
        purchases.c.user_id.label("buyer_id"),
        purchases.c.payment_id,
        purchases.c.metadata,
        purchases.c.language,
        purchases.c.is_guest,
        purchases.c.event_version,
        purchases.c.create_time.label("purchase_time"),
        cancellations.c.cancellation_id,
    )
    .join(events, events.c.event_id == tickets.c.event_id)
    .join(purchases, _ITS_PURCHASE)
    .outerjoin(
        cancellations,
        sa.and_(
            cancellations.c.event_id == tickets.c.event_id,
            cancellations.c.ticket_id == tickets.c.ticket_id,
            cancellations.c.status != "REJECTED",
        ),
    )
)


def _has_status(status: TicketStatus, now: datetime) -> Condition:
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
    """Return an expression for the status of a ticket as of `now`."""
    is_derived = (TicketStatus.USED, TicketStatus.EXPIRED)
    derived = [(_has_status(status, now), sa.literal(status.value)) for status in is_derived]
    return sa.case(*derived, else_=tickets.c.status)


def find_ticket(connection: Connection, ticket_id: UUID, condition: Condition = ANY) -> SoldTicket | None:
    """Read one ticket."""
    found = _find_tickets(connection, [tickets.c.ticket_id == ticket_id, condition])
    return found[0] if found else None


def find_tickets(connection: Connection, keys: Collection[UUID | bytes]) -> dict[UUID | bytes, SoldTicket]:
    """Read tickets by their ids and by the digests of their current codes."""
    ids = [key for key in keys if isinstance(key, UUID)]
    digests = [key for key in keys if isinstance(key, bytes)]
    named = _rows(connection, [tickets.c.ticket_id.in_(ids)]) if ids else []
    typed = _rows(connection, [tickets.c.code_digest.in_(digests)]) if digests else []
    found = _sold_tickets(connection, [*named, *typed])
    by_code = zip((bytes(row.code_digest) for row in typed), found[len(named) :], strict=True)
    return {sold.ticket.ticket_id: sold for sold in found[: len(named)]} | dict(by_code)


def tickets_of_purchase(
    connection: Connection, event_id: UUID, purchase_id: UUID, condition: Condition = ANY
) -> list[SoldTicket]:
    """Read the tickets of a purchase in the order in which they were issued."""
    its = [tickets.c.event_id == event_id, tickets.c.purchase_id == purchase_id, condition]
    return _find_tickets(connection, its)[::-1]


def tickets_of_purchases(connection: Connection, keys: Collection[PurchaseKey]) -> dict[UUID, list[SoldTicket]]:
    """Read the tickets of each purchase, by the id of the purchase, in the order in which they were issued."""
    found: dict[UUID, list[SoldTicket]] = {purchase_id: [] for _, purchase_id in keys}
    its_key = sa.tuple_(tickets.c.event_id, tickets.c.purchase_id)
    for sold in _find_tickets(connection, [its_key.in_(keys)])[::-1]:
        found[sold.ticket.purchase_id].append(sold)
    return found


def tickets_of_users(connection: Connection, user_ids: Collection[str]) -> dict[str, list[SoldTicket]]:
    """Read the tickets of each user, newest first; leave out the users with more than MAX_OF_USER."""
    user = wanted_users(user_ids)
    # Without an order, the index on the user ends the search at the limit, however many tickets a user has.
    its_key = sa.select(tickets.c.event_id, tickets.c.ticket_id).where(tickets.c.user_id == user.c.user_id)
    first = its_key.limit(MAX_OF_USER + 1).lateral()
    keys: dict[str, list[tuple[UUID, UUID]]] = {user_id: [] for user_id in user_ids}
    named = sa.select(user.c.user_id, first).select_from(user).join(first, sa.true())
    for user_id, event_id, ticket_id in connection.execute(named):
        keys[user_id].append((event_id, ticket_id))
    few = {user_id: its for user_id, its in keys.items() if len(its) <= MAX_OF_USER}
    found: dict[str, list[SoldTicket]] = {user_id: [] for user_id in few}
    if wanted := [key for its in few.values() for key in its]:
        for sold in _find_tickets(connection, [sa.tuple_(tickets.c.event_id, tickets.c.ticket_id).in_(wanted)]):
            # A ticket that was transferred meanwhile has another holder.
            found.get(sold.ticket.user_id, []).append(sold)
    return found


def tickets_of_holder(connection: Connection, event_id: UUID, holder: Holder) -> list[SoldTicket]:
    """Read the tickets of a holder for an event that are not cancelled, in order of issue.

    Of more than MAX_FOR_HOURS for the same hours, the last ones are read: the others add nothing to a calendar entry. The
    bound applies to each day of day tickets, because a day without a ticket loses its entry.
    """
    is_held_by_seller = sa.and_(purchases.c.is_guest, tickets.c.user_id == purchases.c.user_id)
    conditions = [tickets.c.event_id == event_id, tickets.c.status.not_in(CANCELLED_STATUSES)]
    if holder.user_id:
        conditions += [tickets.c.user_id == holder.user_id, sa.not_(is_held_by_seller)]
    elif holder.address:
        its = purchases_of_address(holder.address)
        conditions += [sa.tuple_(tickets.c.event_id, tickets.c.purchase_id).in_(its), is_held_by_seller]
    else:
        conditions += [tickets.c.purchase_id == holder.purchase_id, tickets.c.user_id == purchases.c.user_id]
    hours = (tickets.c.valid_from_time, tickets.c.valid_until_time)
    number = sa.func.row_number().over(partition_by=hours, order_by=tickets.c.ticket_id.desc())
    found = sa.select(tickets.c.ticket_id, number.label("number")).join(purchases, _ITS_PURCHASE)
    numbered = found.where(*conditions).subquery()
    last = sa.select(numbered.c.ticket_id).where(numbered.c.number <= MAX_FOR_HOURS)
    return _find_tickets(connection, [tickets.c.event_id == event_id, tickets.c.ticket_id.in_(last)])[::-1]


def list_tickets(
    connection: Connection, caller: Caller, query: TicketQuery, now: datetime, page: tuple[UUID | None, int]
) -> list[SoldTicket]:
    """Read tickets that a caller may see, with their status as of `now`, newest first.

    `page` is the id of the ticket before the page, and the size of the page.
    """
    before, limit = page
    conditions = [ticket_visible_to(caller), ticket_of_user(caller, query.user_id)]
    if query.status is not None:
        conditions.append(_has_status(query.status, now))
    if query.event_id is not None:
        conditions.append(tickets.c.event_id == query.event_id)
    if query.email:
        conditions.append(sa.tuple_(tickets.c.event_id, tickets.c.ticket_id).in_(tickets_of_address(query.email)))
    if query.event_id is not None and query.holder:
        found = find_held(connection, query.event_id, read_search(query.holder), MAX_CANDIDATES)
        conditions.append(tickets.c.ticket_id.in_([one.ticket_id for one in found]))
    if before is not None:
        conditions.append(tickets.c.ticket_id < before)
    return _find_tickets(connection, conditions, limit)


def _find_tickets(
    connection: Connection, conditions: Sequence[Condition], limit: int | None = None
) -> list[SoldTicket]:
    return _sold_tickets(connection, _rows(connection, conditions, limit))


def _rows(connection: Connection, conditions: Sequence[Condition], limit: int | None = None) -> Sequence[Row[Any]]:
    return connection.execute(_SOLD.where(*conditions).order_by(tickets.c.ticket_id.desc()).limit(limit)).all()


def _sold_tickets(connection: Connection, rows: Sequence[Row[Any]]) -> list[SoldTicket]:
    # Each event is read once, not with every ticket: descriptions are long.
    by_id = find_events(connection, {row.event_id for row in rows}) if rows else {}
    # Read after the events: a change that commits in between is then seen twice, and never missed.
    past = find_past_terms(connection, by_id) if rows else {}
    return [_sold(row, by_id[row.event_id], past[row.event_id]) for row in rows]


def lock_ticket(connection: Connection, ticket_id: UUID, condition: Condition = ANY) -> SoldTicket | None:
    """Lock one ticket until the transaction ends; return it."""
    own = (tickets.c.ticket_id == ticket_id, condition)
    lock = sa.select(tickets.c.ticket_id).join(events, events.c.event_id == tickets.c.event_id).where(*own)
    connection.execute(lock.with_for_update(key_share=True, of=tickets))
    # A second statement sees the changes of a transaction for which the first one waited.
    found = _find_tickets(connection, own)
    return found[0] if found else None


def lock_tickets_of_purchase(connection: Connection, event_id: UUID, purchase_id: UUID) -> list[Ticket]:
    """Lock the tickets of a purchase of a locked event, in the order of their ids."""
    query = (
        sa.select(*(tickets.c[name] for name in _STORED))
        .where(tickets.c.event_id == event_id, tickets.c.purchase_id == purchase_id)
        .order_by(tickets.c.ticket_id)
        .with_for_update(key_share=True)
    )
    return [_ticket_of(row) for row in connection.execute(query)]


def update_ticket(connection: Connection, ticket: Ticket, digests: Digests | None = None) -> None:
    """Update a locked ticket, and its digests unless they are None."""
    changes = {name: getattr(ticket, name) for name in _CHANGING}
    if digests is not None:
        changes |= {"code_digest": digests.code, "token_digest": digests.token}
    its = (tickets.c.event_id == ticket.event_id, tickets.c.ticket_id == ticket.ticket_id)
    connection.execute(sa.update(tickets).where(*its).values(changes))


def _sold(row: Row[Any], event: Event, past: Sequence[PastTerms]) -> SoldTicket:
    later = tuple(terms for terms in past if terms.replaced_after(row.event_version, row.purchase_time))
    return SoldTicket(
        _ticket_of(row),
        event,
        row.buyer_id,
        row.payment_id or "",
        row.metadata,
        row.cancellation_id,
        later,
        wanted_language(row.language, row.metadata),
        is_guest=row.is_guest,
    )


def _ticket_of(row: Row[Any]) -> Ticket:
    stored: dict[str, Any] = {name: getattr(row, name) for name in _STORED}
    return Ticket(**stored | {"ticket_type": TicketType(row.ticket_type), "status": TicketStatus(row.status)})
