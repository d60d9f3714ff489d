"""Create, read, change and publish events."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import event_changes as domain
from ticket_service.domain.cancellations import CancellationStatus
from ticket_service.domain.changes import Change, ChangeKind, event_change
from ticket_service.domain.event_sales import EventSales
from ticket_service.domain.event_times import CORRECTABLE, check_changed_times, check_new_times
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.notifications import event_changed
from ticket_service.domain.provider_rules import RulesByProvider, check_prices, check_publication
from ticket_service.domain.queries import EventQuery
from ticket_service.domain.refusals import event_not_found, request_id_reused
from ticket_service.domain.terms import full_refund_until, replace_terms
from ticket_service.store import changes, outbox
from ticket_service.store import events as store
from ticket_service.store.access import event_administered_by
from ticket_service.store.event_sales import count_cancellations, count_ticket_refunds, sales_lines
from ticket_service.store.holds import count_refunds_due
from ticket_service.store.past_terms import find_past_terms, insert_past_terms
from ticket_service.store.requests import RequestKey, claim
from ticket_service.use_cases.batched_reads import BatchedReads
from ticket_service.use_cases.logos import check_logo
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# The name is part of the fingerprint: another RPC with the same request_id is another request.
_CREATE: Final = b"CreateEvent\0"
# All users get the same list of events, so calls that arrive together share one read. A longer list waits for the pool of
# lists: its messages take the event loop as long as its read.
MAX_FEW: Final = 20
ANYBODY: Final = Caller("", frozenset({Role.USER}))
# A change of one of these depends on the tickets sold.
_SOLD_FIELDS: Final = frozenset({"ticket_price", "offers"})


class Events:
    """The use cases of events.

    `changes` are the rules about changes of events, `rules` those of the configured payment providers; `on_change` is
    called after each commit that may change the feed.
    """

    def __init__(
        self,
        database: Database,
        changes: domain.ChangeRules,
        rules: RulesByProvider,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._reads: BatchedReads[UUID, Event] = BatchedReads(database, "event reads", store.find_events)
        self._on_sale: BatchedReads[EventQuery, Sequence[Event]] = BatchedReads(database, "event lists", self._find_few)
        self._changes = changes
        self._rules = rules
        self._clock = clock
        self._on_change = on_change

    async def create(self, caller: Caller, request_id: UUID, draft: Event, content: bytes) -> Event:
        """Store a new event of `caller`; a repeated request returns the event of the first request in its present state.

        Raises:
            Failure: REQUEST_ID_REUSED: the organizer used the id for a request with another `content`; INVALID_ARGUMENT
                for times that can only be mistyped, for a logo that cannot be printed, or if a payment provider
                cannot charge a price.
        """
        check_new_times(draft, draft.create_time)
        await check_logo(self._changes.logos, draft.metadata)
        key = RequestKey(draft.organizer_id, request_id, hashlib.sha256(_CREATE + content).digest())

        def work(connection: Connection) -> Event:
            first = claim(connection, key, draft.event_id, draft.event_id, draft.create_time)
            if first is None:
                check_prices(draft, None, self._rules)
                store.insert_event(connection, draft)
                created = Change(ChangeKind.EVENT_CREATED, draft.event_id)
                changes.record(connection, caller, created, draft.create_time)
                return draft
            event = store.find_event(connection, first.event_id)
            if first.fingerprint != key.fingerprint or event is None:
                raise request_id_reused(request_id)
            return event

        event = await self._database.run(work)
        self._on_change()
        return event

    async def get(self, caller: Caller, event_id: UUID) -> Event:
        """Read one event that `caller` may see; raise EVENT_NOT_FOUND if there is none."""
        event = await self._reads.get(event_id)
        return _found(event if event is not None and event.is_visible_to(caller) else None, event_id)

    async def list(
        self, caller: Caller, query: EventQuery, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Event]:
        """Read up to `limit` events that `caller` may see, by start_time, then event_id."""
        if not caller.is_any(Role.ORGANIZER, Role.OPERATOR) and (few := await self._on_sale.get(query)) is not None:
            return [event for event in few if after is None or (event.start_time, event.event_id) > after][:limit]
        now = self._clock()
        return await self._database.read(lambda c: store.list_events(c, caller, query, now, (after, limit)))

    def _find_few(self, connection: Connection, queries: Sequence[EventQuery]) -> dict[EventQuery, Sequence[Event]]:
        """Read the events of each query that everybody may see; leave out the queries with more than MAX_FEW."""
        now, first = self._clock(), (None, MAX_FEW + 1)
        found = {query: store.list_events(connection, ANYBODY, query, now, first) for query in queries}
        return {query: events for query, events in found.items() if len(events) <= MAX_FEW}

    async def update(self, caller: Caller, change: domain.EventChange) -> tuple[Event, datetime | None]:
        """Change an event that `caller` administers.

        Returns:
            The event, and the time until which tickets bought before are refunded in full, if the change is a move or
            repeats one.

        Raises:
            Failure: EVENT_NOT_FOUND, ETAG_MISMATCH, EVENT_NOT_CHANGEABLE, CAPACITY_BELOW_RESERVED; FORBIDDEN for an
                operator who changes what only the organizer may change; INVALID_ARGUMENT if a new value contradicts a
                stored value, for times that can only be mistyped, for a logo that cannot be printed, or if a payment provider cannot charge a new price.
        """
        now = self._clock()
        await check_logo(self._changes.logos, change.values.attributes.get("metadata"))

        def work(connection: Connection) -> tuple[Event, datetime | None]:
            event = lock_administered_event(connection, caller, change.event_id)
            domain.check_permitted(event, change.paths, caller)
            domain.check_etag(event, change.etag, change.values)
            domain.check_changeable(event, change.paths, now, self._changes.correction)
            wanted = domain.merge_values(event, change.values)
            check_prices(wanted, event, self._rules)
            depends_on_sales = not _SOLD_FIELDS.isdisjoint(change.paths)
            sold = store.sold_by_type(connection, event.event_id) if depends_on_sales else {}
            result = domain.change_event(event, wanted, sold, now)
            if result is event:
                # A repeated move returns the right that the first one gave.
                is_of_times = not CORRECTABLE.isdisjoint(change.paths)
                return event, self._find_right(connection, event, now) if is_of_times else None
            check_changed_times(event, result, now)
            store.update_event(connection, result)
            changes.record(connection, caller, event_change(event, result), now)
            until = self._keep_terms(connection, event, result, now)
            outbox.write(connection, event_changed(event, result, until), now)
            return result, until

        changed = await self._database.run(work)
        self._on_change()
        return changed

    async def publish(self, caller: Caller, event_id: UUID) -> Event:
        """Put an event of `caller` on sale.

        Raises:
            Failure: EVENT_NOT_FOUND, EVENT_ENDED, ILLEGAL_TRANSITION or PRICE_NOT_CHARGEABLE.
        """
        now = self._clock()

        def work(connection: Connection) -> Event:
            event = lock_administered_event(connection, caller, event_id)
            result = domain.publish_event(event, now)
            if result is not event:
                check_publication(event, self._rules)
                store.update_event(connection, result)
                changes.record(connection, caller, Change(ChangeKind.EVENT_PUBLISHED, event_id), now)
            return result

        event = await self._database.run(work)
        self._on_change()
        return event

    async def sales(self, caller: Caller, event_id: UUID) -> EventSales:
        """Sum up the sales of an event that `caller` administers; raise EVENT_NOT_FOUND if there is none."""
        now = self._clock()

        def work(connection: Connection) -> EventSales:
            event = _found(store.find_event(connection, event_id, event_administered_by(caller)), event_id)
            return EventSales(
                event.currency,
                sales_lines(connection, event_id, now),
                refunds_pending=count_cancellations(connection, event_id, CancellationStatus.REFUNDING)
                + count_ticket_refunds(connection, event_id)
                + count_refunds_due(connection, event_id),
                refunds_failed=count_cancellations(connection, event_id, CancellationStatus.REFUND_FAILED),
            )

        # Lines and counts come from one snapshot, so that they agree.
        return await self._database.read(work, isolation="REPEATABLE READ")

    @staticmethod
    def _find_right(connection: Connection, event: Event, now: datetime) -> datetime | None:
        until = full_refund_until(event, find_past_terms(connection, [event.event_id])[event.event_id])
        return until if until is not None and now < until else None

    def _keep_terms(self, connection: Connection, before: Event, after: Event, now: datetime) -> datetime | None:
        """Keep the terms that a change replaces; return the end of the right to a full refund if it is a move."""
        if before.status is EventStatus.DRAFT:
            # Nothing was sold on the terms of a draft.
            return None
        past = find_past_terms(connection, [before.event_id])[before.event_id]
        replaced = replace_terms(before, after, past, self._changes.moves, now)
        if replaced is None:
            return None
        insert_past_terms(connection, replaced)
        return replaced.full_refund_until


def lock_administered_event(connection: Connection, caller: Caller, event_id: UUID) -> Event:
    """Lock an event that `caller` administers until the transaction ends, and return it; raise EVENT_NOT_FOUND if there is none."""
    return _found(store.lock_event(connection, event_id, event_administered_by(caller)), event_id)


def _found(event: Event | None, event_id: UUID) -> Event:
    if event is None:
        raise event_not_found(event_id)
    return event
