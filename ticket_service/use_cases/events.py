"""What organizers do with events, and who may see them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.event_changes import (
    EventChange,
    changed,
    check_changeable,
    check_etag,
    merge_values,
    published,
)
from ticket_service.domain.event_sales import EventSales
from ticket_service.domain.events import Event, EventStatus, EventType
from ticket_service.domain.notifications import event_changed
from ticket_service.domain.refusals import event_not_found, request_id_reused
from ticket_service.store import events as store
from ticket_service.store import outbox
from ticket_service.store.event_sales import count_cancellations, sales_lines
from ticket_service.store.holds import count_owed_back
from ticket_service.store.requests import RequestKey, claim
from ticket_service.store.tables import events
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# Keeps a request of this RPC apart from one of another under the same request_id.
_CREATE: Final = b"CreateEvent\0"
# Changing one of these is a question of what was sold.
_ABOUT_SALES: Final = frozenset({"ticket_price", "offers"})


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events are listed."""

    status: EventStatus
    event_type: EventType | None
    min_start_time: datetime | None


class Catalog:
    """The events.

    Args:
        database: where they are.
        clock: the present time.
        on_change: called after a commit that gates may need to know of.
    """

    def __init__(self, database: Database, clock: Clock, on_change: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._on_change = on_change

    async def create(self, request_id: UUID, draft: Event, content: bytes) -> Event:
        """Store a new event; asked again it returns that event as it is by then.

        Args:
            request_id: the caller's name for this request.
            draft: the event.
            content: what was asked for, byte by byte, to tell another request from this one.
        """
        key = RequestKey(draft.organizer_id, request_id, hashlib.sha256(_CREATE + content).digest())

        def work(connection: Connection) -> Event:
            first = claim(connection, key, draft.event_id, draft.event_id, draft.create_time)
            if first is None:
                store.insert_event(connection, draft)
                return draft
            event = store.find_event(connection, first.event_id)
            if first.fingerprint != key.fingerprint or event is None:
                raise request_id_reused(request_id)
            return event

        event = await self._database.run(work)
        self._on_change()
        return event

    async def get(self, caller: Caller, event_id: UUID) -> Event:
        """Read one event that `caller` may see."""
        visible = store.visible_to(organizer_of(caller))
        return await self._database.run(lambda c: _found(store.find_event(c, event_id, visible), event_id))

    async def list(
        self, caller: Caller, query: EventQuery, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Event]:
        """Read up to `limit` events that `caller` may see, by start_time, then event_id."""
        conditions = [store.visible_to(organizer_of(caller)), store.has_status(query.status, self._clock())]
        if query.event_type is not None:
            conditions.append(events.c.event_type == query.event_type)
        if query.min_start_time is not None:
            conditions.append(events.c.start_time >= query.min_start_time)
        return await self._database.run(lambda c: store.list_events(c, conditions, after, limit))

    async def update(self, caller: Caller, change: EventChange) -> Event:
        """Change an event of `caller`."""
        now = self._clock()

        def work(connection: Connection) -> Event:
            event = locked_own_event(connection, caller, change.event_id)
            check_etag(event, change.etag)
            check_changeable(event, change.paths, now)
            wanted = merge_values(event, change.values)
            about_sales = not _ABOUT_SALES.isdisjoint(change.paths)
            sold = store.sold_by_type(connection, event.event_id) if about_sales else {}
            result = changed(event, wanted, sold, now)
            if result is not event:
                store.update_event(connection, result)
                outbox.write(connection, event_changed(event, result), now)
            return result

        event = await self._database.run(work)
        self._on_change()
        return event

    async def publish(self, caller: Caller, event_id: UUID) -> Event:
        """Put an event of `caller` on sale."""
        now = self._clock()

        def work(connection: Connection) -> Event:
            event = locked_own_event(connection, caller, event_id)
            result = published(event, now)
            if result is not event:
                store.update_event(connection, result)
            return result

        event = await self._database.run(work)
        self._on_change()
        return event

    async def sales(self, caller: Caller, event_id: UUID) -> EventSales:
        """Sum up the sales of an event of `caller`."""
        now = self._clock()

        def work(connection: Connection) -> EventSales:
            event = _found(store.find_event(connection, event_id, store.owned_by(caller.subject)), event_id)
            return EventSales(
                event.currency,
                sales_lines(connection, event_id, now),
                refunds_pending=count_cancellations(connection, event_id, CancellationStatus.REFUNDING)
                + count_owed_back(connection, event_id),
                refunds_failed=count_cancellations(connection, event_id, CancellationStatus.REFUND_FAILED),
            )

        # One snapshot, so that lines and counts are of one moment.
        return await self._database.run(work, isolation="REPEATABLE READ")


def organizer_of(caller: Caller) -> str | None:
    """Return as which organizer `caller` may act, if as any."""
    return caller.subject if caller.is_any(Role.ORGANIZER) else None


def locked_own_event(connection: Connection, caller: Caller, event_id: UUID) -> Event:
    """Lock an event of `caller` until the transaction ends, and return it.

    Raises:
        Failure: EVENT_NOT_FOUND.
    """
    return _found(store.lock_event(connection, event_id, store.owned_by(caller.subject)), event_id)


def _found(event: Event | None, event_id: UUID) -> Event:
    if event is None:
        raise event_not_found(event_id)
    return event
