"""Cancel events: (1) stop sales, (2) have the scan service close the gates, (3) cancel the tickets in batches.

Every step can be repeated. Step 1 stores a row with the progress. Step 2 is repeated until the scan service confirms
it. In step 3, each batch takes the next tickets by a cursor in that row: a crash loses nothing, and several processes
share one event. The sweeper of cancellations settles the cancellations that a batch leaves PENDING.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import event_cancellation as domain
from ticket_service.domain.cancellations import Cancellation
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.event_cancellation import EventCancellation
from ticket_service.domain.event_changes import ChangeRules, cancel_event
from ticket_service.domain.events import Event
from ticket_service.domain.notifications import event_cancelled
from ticket_service.store import changes, outbox
from ticket_service.store import event_cancellation as store
from ticket_service.store.cancellations import insert_cancellations
from ticket_service.store.events import event_currency, update_event
from ticket_service.use_cases.cancellations import Cancellations, retry_seconds
from ticket_service.use_cases.events import lock_administered_event
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# Tickets in one call to the scan service and under one lock of the event's row, which lasts a quarter of a second.
BATCH_TICKETS: Final = 500


class EventRevoker(Protocol):
    """A client that closes gates at the scan service."""

    async def close_gates(self, event_id: UUID) -> None:
        """Make every gate deny all tickets of the event, or raise DEPENDENCY_UNAVAILABLE."""


class EventCancellations:
    """The use cases of cancelling events; `cancellations.on_change` is called after each commit that changes the feed."""

    def __init__(
        self,
        database: Database,
        revoker: EventRevoker,
        cancellations: Cancellations,
        rules: ChangeRules,
        clock: Clock,
    ) -> None:
        self._database = database
        self._revoker = revoker
        self._cancellations = cancellations
        self._rules = rules
        self._clock = clock

    async def cancel(self, caller: Caller, event_id: UUID, reason: str) -> tuple[Event, bool]:
        """Cancel an event that `caller` administers; a repeated request closes the gates if no earlier request did.

        After the cancellation is complete, a repeated request looks at every ticket again, and refunds those that are
        neither checked in nor cancelled.

        Returns:
            The event, and whether the scan service has confirmed that no gate admits to it.

        Raises:
            Failure: EVENT_NOT_FOUND or ILLEGAL_TRANSITION.
        """
        event, event_cancellation = await self._database.run(lambda c: self._stop_sales(c, caller, event_id, reason))
        self._cancellations.on_change()
        if event_cancellation.gates_closed_time is None:
            try:
                await self._close_gates(event_id)
            except Failure as failure:
                # The cancellation is recorded, so the caller gets an answer and no error.
                log.warning("closing gates is left to the sweeper", extra=_log_fields(event_cancellation, failure))
                return event, False
        return event, True

    async def sweep(self) -> bool:
        """Continue the event cancellation that is due first; return whether more may be due."""
        claimed = await self._database.run(self._claim)
        if claimed is None:
            return False
        event_cancellation, batch = claimed
        try:
            if event_cancellation.gates_closed_time is None:
                await self._close_gates(event_cancellation.event_id)
            elif batch:
                await self._cancellations.advance(event_cancellation.event_id, batch)
        except Failure as failure:
            log.warning("an event cancellation is tried again later", extra=_log_fields(event_cancellation, failure))
            await self._database.run(lambda connection: self._postpone(connection, event_cancellation.event_id))
        return True

    def _stop_sales(
        self, connection: Connection, caller: Caller, event_id: UUID, reason: str
    ) -> tuple[Event, EventCancellation]:
        """Do step 1; for a cancelled event, return its cancellation."""
        event = lock_administered_event(connection, caller, event_id)
        event_cancellation = store.lock(connection, event_id)
        now = self._clock()
        if event_cancellation is not None:
            store.update(connection, domain.reopen(event_cancellation, now))
            return event, event_cancellation
        event = cancel_event(event, now, self._rules.correction)
        update_event(connection, event)
        event_cancellation = domain.begin(event_id, reason, now)
        store.insert(connection, event_cancellation)
        changes.record(connection, caller, Change(ChangeKind.EVENT_CANCELLED, event_id), now)
        outbox.write(connection, event_cancelled(event, reason), now)
        return event, event_cancellation

    async def _close_gates(self, event_id: UUID) -> None:
        await self._revoker.close_gates(event_id)

        def confirm(connection: Connection) -> None:
            event_cancellation = store.lock(connection, event_id)
            if event_cancellation is not None and event_cancellation.gates_closed_time is None:
                store.update(connection, domain.confirm_closed_gates(event_cancellation, self._clock()))

        await self._database.run(confirm)
        self._cancellations.on_change()

    def _claim(self, connection: Connection) -> tuple[EventCancellation, Sequence[Cancellation]] | None:
        """Claim the next work: the closing of gates, or a batch of cancellations, which it inserts."""
        now = self._clock()
        event_cancellation = store.lock_due(connection, now)
        if event_cancellation is None:
            return None
        if event_cancellation.gates_closed_time is None:
            store.update(connection, _claimed(event_cancellation, now))
            return event_cancellation, ()
        event_id = event_cancellation.event_id
        batch = store.lock_open_tickets(connection, event_id, event_cancellation.after_ticket_id, BATCH_TICKETS)
        pending = store.refund_pending_in_full(connection, event_id, [ticket.ticket_id for ticket in batch])
        currency = event_currency(connection, event_id)
        new = [
            domain.cancellation_of(event_cancellation, ticket, new_id(), currency, now)
            for ticket in domain.tickets_to_cancel(batch, pending)
        ]
        insert_cancellations(connection, new)
        store.update(connection, domain.advance(event_cancellation, batch, now))
        return event_cancellation, new

    def _postpone(self, connection: Connection, event_id: UUID) -> None:
        event_cancellation = store.lock(connection, event_id)
        # The cancellation is complete if another process settled the last batch meanwhile.
        if event_cancellation is not None and event_cancellation.due_time is not None:
            store.update(connection, _claimed(event_cancellation, self._clock()))


def _claimed(event_cancellation: EventCancellation, now: datetime) -> EventCancellation:
    return domain.claim(event_cancellation, now, retry_seconds(event_cancellation.attempts))


def _log_fields(event_cancellation: EventCancellation, failure: Failure) -> dict[str, object]:
    return {"event_id": event_cancellation.event_id, "reason": failure.reason, "attempts": event_cancellation.attempts}
