"""Calling events off: (1) sales stop, (2) the scan service closes the gates, (3) tickets are given back in batches.

Every step may be done again. The first stores a row that says how far the event is; the second is repeated until the
scan service confirms it; in the third each batch takes the next tickets by a cursor in that row, so that a crash loses
nothing and several processes share one event: what a batch leaves PENDING, the sweeper of cancellations settles.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import event_cancellation as domain
from ticket_service.domain.cancellations import Cancellation
from ticket_service.domain.event_cancellation import EventCancellation
from ticket_service.domain.event_changes import cancelled
from ticket_service.domain.events import Event
from ticket_service.domain.notifications import event_cancelled
from ticket_service.store import event_cancellation as store
from ticket_service.store import outbox
from ticket_service.store.cancellations import insert_cancellations
from ticket_service.store.events import event_currency, update_event
from ticket_service.use_cases.cancellations import Cancellations, retry_seconds
from ticket_service.use_cases.events import locked_own_event
from ticketing.chassis.authentication import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# Tickets in one call to the scan service, and under one lock of the event's row: a quarter of a second.
BATCH_TICKETS: Final = 500


class Gates(Protocol):
    """What the scan service does for us."""

    async def close_gates(self, event_id: UUID) -> None:
        """Make sure that no gate admits to the event any more.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE: it is not known whether one does.
        """


class EventCancellations:
    """Calls events off.

    Args:
        database: where they are.
        gates: closes them.
        cancellations: gives tickets back.
        clock: the present time.
        on_change: called after a commit that gates need to know of.
    """

    def __init__(
        self,
        database: Database,
        gates: Gates,
        cancellations: Cancellations,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._gates = gates
        self._cancellations = cancellations
        self._clock = clock
        self._on_change = on_change

    async def call_off(self, caller: Caller, event_id: UUID, reason: str) -> tuple[Event, bool]:
        """Call an event of `caller` off; asked again, go on with it.

        Returns:
            The event, and whether the scan service has confirmed that no gate admits any more.

        Raises:
            Failure: EVENT_NOT_FOUND or ILLEGAL_TRANSITION.
        """
        now = self._clock()
        event, event_cancellation = await self._database.run(lambda c: _stop_sales(c, caller, event_id, reason, now))
        self._on_change()
        if event_cancellation.gates_closed_time is not None:
            return event, True
        try:
            await self._close_gates(event_id)
        except Failure as failure:
            # What was asked for is recorded, so this is an answer and no error.
            log.warning("closing gates is left to the sweeper", extra=_facts(event_cancellation, failure))
            return event, False
        return event, True

    async def sweep(self) -> bool:
        """Go on with the event that has been due for longest; tell whether there may be more to do at once."""
        taken = await self._database.run(self._take)
        if taken is None:
            return False
        event_cancellation, batch = taken
        try:
            if event_cancellation.gates_closed_time is None:
                await self._close_gates(event_cancellation.event_id)
            elif batch:
                await self._cancellations.go_on(event_cancellation.event_id, batch)
        except Failure as failure:
            log.warning("calling off is tried again later", extra=_facts(event_cancellation, failure))
            await self._database.run(lambda connection: self._put_off(connection, event_cancellation.event_id))
        return True

    async def _close_gates(self, event_id: UUID) -> None:
        """Do step 2."""
        await self._gates.close_gates(event_id)

        def note(connection: Connection) -> None:
            event_cancellation = store.lock(connection, event_id)
            if event_cancellation is not None and event_cancellation.gates_closed_time is None:
                store.update(connection, domain.gates_closed(event_cancellation, self._clock()))

        await self._database.run(note)
        self._on_change()

    def _take(self, connection: Connection) -> tuple[EventCancellation, Sequence[Cancellation]] | None:
        """Claim the next piece of work: the closing of gates, or cancellations stored just now."""
        now = self._clock()
        event_cancellation = store.take_due(connection, now)
        if event_cancellation is None:
            return None
        if event_cancellation.gates_closed_time is None:
            store.update(connection, _tried(event_cancellation, now))
            return event_cancellation, ()
        event_id = event_cancellation.event_id
        batch = store.lock_open_tickets(connection, event_id, event_cancellation.after_ticket_id, BATCH_TICKETS)
        own = store.refund_pending_in_full(connection, event_id, [ticket.ticket_id for ticket in batch])
        currency = event_currency(connection, event_id)
        new = [
            domain.cancellation_of(event_cancellation, ticket, new_id(), currency, now)
            for ticket in domain.without_cancellation(batch, own)
        ]
        insert_cancellations(connection, new)
        store.update(connection, domain.gone_on(event_cancellation, batch, now))
        return event_cancellation, new

    def _put_off(self, connection: Connection, event_id: UUID) -> None:
        event_cancellation = store.lock(connection, event_id)
        # Complete, if another process had the last batch meanwhile.
        if event_cancellation is not None and event_cancellation.due_time is not None:
            store.update(connection, _tried(event_cancellation, self._clock()))


def _stop_sales(
    connection: Connection, caller: Caller, event_id: UUID, reason: str, now: datetime
) -> tuple[Event, EventCancellation]:
    """Do step 1, once."""
    event = locked_own_event(connection, caller, event_id)
    event_cancellation = store.find(connection, event_id)
    if event_cancellation is not None:
        return event, event_cancellation
    event = cancelled(event, now)
    update_event(connection, event)
    event_cancellation = domain.begun(event_id, reason, now)
    store.insert(connection, event_cancellation)
    outbox.write(connection, [event_cancelled(event, reason)], now)
    return event, event_cancellation


def _tried(event_cancellation: EventCancellation, now: datetime) -> EventCancellation:
    return domain.put_off(event_cancellation, now, retry_seconds(event_cancellation.attempts))


def _facts(event_cancellation: EventCancellation, failure: Failure) -> dict[str, object]:
    return {"event_id": event_cancellation.event_id, "reason": failure.reason, "attempts": event_cancellation.attempts}
