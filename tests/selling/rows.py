"""Insert events, purchases and tickets as the service does, for tests that begin after a sale."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.access import CODE_SECRET
from ticket_service.domain.codes import Codes
from ticket_service.domain.event_changes import ChangeRules
from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, EventType, TicketType
from ticket_service.domain.terms import MoveRules
from ticket_service.domain.tickets import SoldTicket, Ticket, TicketStatus
from ticket_service.store.events import insert_event
from ticket_service.store.tables import events, offers, purchases, tickets
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id

# The default settings.
CHANGE_RULES = ChangeRules(timedelta(days=30), MoveRules(timedelta(hours=3), timedelta(days=14)))
NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)


def make_event(now: datetime = NOW, starts_in: timedelta = timedelta(days=10), **changes: Any) -> Event:
    """Return a published event of four hours; `changes` are fields of it."""
    event = Event(
        event_id=new_id(),
        organizer_id="olga",
        name="Concert",
        description="Loud",
        event_type=EventType.OTHER,
        status=EventStatus.PUBLISHED,
        start_time=now + starts_in,
        end_time=now + starts_in + timedelta(hours=4),
        doors_open_time=now + starts_in - timedelta(hours=1),
        time_zone="UTC",
        location="Hall",
        is_online=False,
        max_participants=None,
        reserved=0,
        currency="EUR",
        ticket_price=2_500,
        offers=(),
        refund_tiers=(),
        admission_policy=AdmissionPolicy.SINGLE_ENTRY,
        image_url="",
        metadata={},
        create_time=now,
        update_time=now,
        revision=1,
        changed_revision=1,
        version=2,
    )
    return replace(event, **changes)


def make_sold(event: Event, **changes: Any) -> SoldTicket:
    """Return a ticket of `event`; `changes` are fields of the ticket."""
    ticket = Ticket(
        **{
            "ticket_id": new_id(),
            "event_id": event.event_id,
            "purchase_id": new_id(),
            "user_id": "alice",
            "ticket_type": TicketType.STANDARD,
            "status": TicketStatus.ACTIVE,
            "price": event.ticket_price,
            "valid_from_time": None,
            "valid_until_time": None,
            "check_in_time": None,
            "issue": 1,
            "revision": 2,
            "create_time": NOW,
            "update_time": NOW,
            **changes,
        }
    )
    return SoldTicket(ticket, event, buyer_id="alice", payment_id="pay-1", metadata={})


def store_event(connection: Connection, **wanted: Any) -> Event:
    """Store an event made with `make_event`."""
    event = make_event(**wanted)
    insert_event(connection, event)
    return event


def sell(
    connection: Connection,
    event: Event,
    count: int = 1,
    *,
    user_id: str = "alice",
    ticket_type: TicketType = TicketType.STANDARD,
) -> list[UUID]:
    """Sell tickets in one purchase; return their ids. The event stays locked until the transaction ends."""
    locked = sa.select(events).where(events.c.event_id == event.event_id).with_for_update(key_share=True)
    revision = connection.execute(locked).one().revision
    offer = event.offer(ticket_type)
    price = offer.price if offer else event.ticket_price
    purchase_id = new_id()
    connection.execute(
        sa.insert(purchases).values(
            event_id=event.event_id,
            purchase_id=purchase_id,
            user_id=user_id,
            items=[[ticket_type, count, price]],
            currency=event.currency,
            total=price * count,
            status="COMPLETED",
            provider="external" if price else "free",
            payment_id=f"pay-{purchase_id}" if price else None,
            metadata={"seat": "any"},
            create_time=event.create_time,
            complete_time=event.create_time,
        )
    )
    ticket_ids = [new_id() for _ in range(count)]
    _insert_tickets(connection, event, ticket_ids, revision, (purchase_id, user_id, ticket_type, price))
    connection.execute(
        sa.update(events)
        .where(events.c.event_id == event.event_id)
        .values(revision=revision + count, reserved=events.c.reserved + count)
    )
    connection.execute(
        sa.update(offers)
        .where(offers.c.event_id == event.event_id, offers.c.ticket_type == ticket_type)
        .values(reserved=offers.c.reserved + count)
    )
    return ticket_ids


def hold(connection: Connection, event: Event, **changes: Any) -> UUID:
    """Hold one place, to be charged by Stripe; return the id of the purchase. `changes` are columns of it."""
    values = {
        "event_id": event.event_id,
        "purchase_id": new_id(),
        "user_id": "alice",
        "items": [[TicketType.STANDARD, 1, event.ticket_price]],
        "currency": event.currency,
        "total": event.ticket_price,
        "status": "HELD",
        "provider": "stripe",
        "metadata": {},
        "create_time": event.create_time,
        "hold_expire_time": event.create_time,
        "due_time": event.create_time,
        **changes,
    }
    connection.execute(sa.insert(purchases).values(values))
    its_event = events.c.event_id == event.event_id
    connection.execute(sa.update(events).where(its_event).values(reserved=events.c.reserved + 1))
    purchase_id: UUID = values["purchase_id"]
    return purchase_id


async def sold(
    database: Database, clock: Clock, count: int = 1, user_id: str = "alice", **wanted: Any
) -> tuple[Event, list[UUID]]:
    """Store an event and sell tickets of it; return the event and the ids of the tickets."""
    ticket_type = wanted.pop("ticket_type", TicketType.STANDARD)

    def work(connection: Connection) -> tuple[Event, list[UUID]]:
        event = store_event(connection, now=clock(), **wanted)
        return event, sell(connection, event, count, user_id=user_id, ticket_type=ticket_type)

    return await database.run(work)


async def row(database: Database, table: sa.Table, **key: Any) -> sa.Row[Any]:
    """Read the row with a key."""
    query = sa.select(table).filter_by(**key)
    return await database.run(lambda connection: connection.execute(query).one())


async def change(database: Database, ticket_id: UUID, **values: Any) -> None:
    """Change columns of a ticket."""
    statement = sa.update(tickets).where(tickets.c.ticket_id == ticket_id).values(**values)
    await database.run(lambda connection: connection.execute(statement))


def _insert_tickets(
    connection: Connection,
    event: Event,
    ticket_ids: Sequence[UUID],
    revision: int,
    sold: tuple[UUID, str, TicketType, int],
) -> None:
    purchase_id, user_id, ticket_type, price = sold
    codes = Codes(CODE_SECRET)
    offer = event.offer(ticket_type)
    rows = [
        {
            "event_id": event.event_id,
            "ticket_id": ticket_id,
            "purchase_id": purchase_id,
            "user_id": user_id,
            "ticket_type": ticket_type,
            "status": "ACTIVE",
            "price": price,
            "valid_from_time": offer.valid_from_time if offer else None,
            "valid_until_time": offer.valid_until_time if offer else None,
            "check_in_time": None,
            "check_in_sequence": 0,
            "issue": 1,
            "revision": revision + place,
            "code_digest": codes.digest(codes.code(ticket_id, 1)),
            "token_digest": None,
            "create_time": event.create_time,
            "update_time": event.create_time,
        }
        for place, ticket_id in enumerate(ticket_ids, start=1)
    ]
    connection.execute(sa.insert(tickets), rows)
