"""Statements on events and their offers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, EventType, Offer, RefundTier, TicketType
from ticket_service.domain.queries import EventQuery
from ticket_service.store.access import Condition, event_visible_to
from ticket_service.store.tables import events, offers, purchases, tickets
from ticketing.chassis.callers import Caller

# Tickets in these statuses take up a place.
RESERVED_STATUSES: Final = ("ACTIVE", "BLOCKED")
_STORED_AS_IS: Final = tuple(field.name for field in fields(Event) if field.name not in {"offers", "refund_tiers"})


def find_event(connection: Connection, event_id: UUID, *conditions: Condition) -> Event | None:
    """Read one event."""
    found = _with_offers(connection, sa.select(events).where(events.c.event_id == event_id, *conditions))
    return found[0] if found else None


def lock_event(connection: Connection, event_id: UUID, *conditions: Condition) -> Event | None:
    """Lock one event, and with it its revision, until the transaction ends; return it."""
    query = sa.select(events).where(events.c.event_id == event_id, *conditions).with_for_update(key_share=True)
    found = _with_offers(connection, query)
    return found[0] if found else None


def find_events(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, Event]:
    """Read events by id."""
    query = sa.select(events).where(events.c.event_id.in_(event_ids))
    return {event.event_id: event for event in _with_offers(connection, query)}


def organizers_of(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, str]:
    """Read the organizers of events by the ids of the events."""
    query = sa.select(events.c.event_id, events.c.organizer_id).where(events.c.event_id.in_(event_ids))
    return {row.event_id: row.organizer_id for row in connection.execute(query)}


def event_currency(connection: Connection, event_id: UUID) -> str:
    """Read the currency of an event's prices, which does not change once a ticket is sold."""
    currency: str = connection.execute(sa.select(events.c.currency).where(events.c.event_id == event_id)).scalar_one()
    return currency


def list_events(
    connection: Connection,
    caller: Caller,
    query: EventQuery,
    now: datetime,
    page: tuple[tuple[datetime, UUID] | None, int],
) -> Sequence[Event]:
    """Read events that a caller may see, with their status as of `now`, by start_time, then event_id.

    `page` is the start_time and event_id of the event before the page, and the size of the page.
    """
    after, limit = page
    selected = (
        sa.select(events)
        .where(event_visible_to(caller), _has_status(query.status, now))
        .order_by(events.c.start_time, events.c.event_id)
        .limit(limit)
    )
    if query.event_type is not None:
        selected = selected.where(events.c.event_type == query.event_type)
    if query.min_start_time is not None:
        selected = selected.where(events.c.start_time >= query.min_start_time)
    if after is not None:
        selected = selected.where(sa.tuple_(events.c.start_time, events.c.event_id) > sa.tuple_(*after))
    return _with_offers(connection, selected)


def _has_status(status: EventStatus, now: datetime) -> Condition:
    if status is EventStatus.COMPLETED:
        return sa.and_(events.c.status == EventStatus.PUBLISHED, events.c.end_time <= now)
    if status is EventStatus.PUBLISHED:
        return sa.and_(events.c.status == EventStatus.PUBLISHED, events.c.end_time > now)
    return events.c.status == status


def insert_event(connection: Connection, event: Event) -> None:
    """Store a new event."""
    connection.execute(sa.insert(events), [_event_row(event)])
    _insert_offers(connection, event)


def update_event(connection: Connection, event: Event) -> None:
    """Update a locked event and its offers; the event has a new version, by which sales batches know its columns."""
    connection.execute(sa.update(events).where(events.c.event_id == event.event_id), _event_row(event))
    connection.execute(sa.delete(offers).where(offers.c.event_id == event.event_id))
    _insert_offers(connection, event)


def take_revision(connection: Connection, event_id: UUID, revision: int) -> None:
    """Store the revision of a locked event that a change of one of its tickets takes."""
    connection.execute(sa.update(events).where(events.c.event_id == event_id).values(revision=revision))


def sold_by_type(connection: Connection, event_id: UUID) -> dict[TicketType, int]:
    """Count the places that are sold or held, of every type that was ever sold or is held."""
    reserved = sa.func.count().filter(tickets.c.status.in_(RESERVED_STATUSES))
    query = (
        sa.select(tickets.c.ticket_type, reserved).where(tickets.c.event_id == event_id).group_by(tickets.c.ticket_type)
    )
    sold = {TicketType(ticket_type): count for ticket_type, count in connection.execute(query)}
    held = sa.select(purchases.c["items"]).where(purchases.c.event_id == event_id, purchases.c.due_time.is_not(None))
    for items in connection.execute(held).scalars():
        for ticket_type, quantity, _ in items:
            sold[TicketType(ticket_type)] = sold.get(TicketType(ticket_type), 0) + quantity
    return sold


def offer_of(row: Mapping[str, Any]) -> Offer:
    """Convert a row of `offers`."""
    own = {name: value for name, value in row.items() if name not in {"event_id", "position"}}
    return Offer(**{**own, "ticket_type": TicketType(row["ticket_type"])})


def _with_offers(connection: Connection, query: sa.Select[Any]) -> list[Event]:
    rows = connection.execute(query).all()
    listed: dict[UUID, list[Offer]] = {row.event_id: [] for row in rows}
    if rows:
        priced = sa.select(offers).where(offers.c.event_id.in_(listed)).order_by(offers.c.position)
        for row in connection.execute(priced):
            listed[row.event_id].append(offer_of(row._asdict()))
    return [event_of(row._asdict(), listed[row.event_id]) for row in rows]


def event_of(row: Mapping[str, Any], its_offers: Sequence[Offer]) -> Event:
    """Convert a row of `events`."""
    return Event(
        **{
            **row,
            "event_type": EventType(row["event_type"]),
            "status": EventStatus(row["status"]),
            "admission_policy": AdmissionPolicy(row["admission_policy"]),
            "refund_tiers": tuple(RefundTier(days_before, percent) for days_before, percent in row["refund_tiers"]),
            "offers": tuple(its_offers),
        }
    )


def _event_row(event: Event) -> dict[str, object]:
    tiers = [[tier.days_before, tier.percent] for tier in event.refund_tiers]
    return {name: getattr(event, name) for name in _STORED_AS_IS} | {"refund_tiers": tiers}


def _insert_offers(connection: Connection, event: Event) -> None:
    rows = [
        {field.name: getattr(offer, field.name) for field in fields(offer)}
        | {"event_id": event.event_id, "position": position}
        for position, offer in enumerate(event.offers)
    ]
    if rows:
        connection.execute(sa.insert(offers), rows)
