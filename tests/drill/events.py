"""What an organizer does with events in a history."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.drill.callers import Callers
from tests.drill.log import Kind
from tests.drill.site import TICKETS
from tests.selling.shop import money
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, event_service_pb2

PRICE: Final = 2_500
CAPACITY: Final = 24


class Events:
    """The operations on events; each returns False where it has no subject."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def new_event(self, price: int | None = None) -> None:
        """Create a draft."""
        now = datetime.now(UTC)
        price = self._callers.random.choice([0, PRICE]) if price is None else price
        event = event_pb2.Event(
            name="Concert",
            event_type=event_pb2.EVENT_TYPE_OTHER,
            doors_open_time=timestamp(now - timedelta(minutes=1)),
            start_time=timestamp(now + timedelta(hours=1)),
            end_time=timestamp(now + timedelta(hours=3)),
            ticket_price=money(price),
            max_participants=CAPACITY,
            refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)]),
        )
        request = event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=event)
        created = self._callers.organizer.ask(self._callers.organizer.events.CreateEvent, request).event
        self._callers.log.add(Kind.EVENT_CREATED, event_id=created.event_id, price=price, capacity=CAPACITY)

    def publish(self) -> bool | None:
        """Publish a draft."""
        if (event_id := self._callers.choose(self._callers.events("DRAFT"))) is None:
            return False
        request = event_service_pb2.PublishEventRequest(event_id=event_id)
        self._callers.organizer.ask(self._callers.organizer.events.PublishEvent, request)
        self._callers.log.add(Kind.EVENT_PUBLISHED, event_id=event_id)
        return None

    def change_event(self) -> bool | None:
        """Change a field that gates have, or one that they do not have."""
        if (event_id := self._callers.choose(self._callers.events("PUBLISHED"))) is None:
            return False
        if self._callers.random.random() < 0.5:
            self.rename(event_id, f"Concert {self._callers.random.randrange(10**6)}")
        else:
            capacity = self._callers.world.events[event_id].capacity + 1
            self._update(event_pb2.Event(event_id=event_id, max_participants=capacity), "max_participants")
            self._callers.log.add(Kind.CAPACITY_CHANGED, event_id=event_id, capacity=capacity)
        return None

    def rename(self, event_id: str, name: str) -> None:
        """Change the name of an event, which gates have."""
        self._update(event_pb2.Event(event_id=event_id, name=name), "name")
        self._callers.log.add(Kind.EVENT_RENAMED, event_id=event_id, name=name)

    def cancel_event(self) -> bool | None:
        """Cancel an event, unless it is the last one."""
        events = self._callers.events("PUBLISHED")
        if len(events) < 3:
            return False
        self.cancel(self._callers.random.choice(events))
        return None

    def cancel(self, event_id: str) -> None:
        """Cancel an event, and wait for the cancellations of its tickets."""
        self._callers.organizer.ask(
            self._callers.organizer.events.CancelEvent, event_service_pb2.CancelEventRequest(event_id=event_id)
        )
        self._callers.log.add(Kind.EVENT_CANCELLED, event_id=event_id)
        self._callers.site.settle()
        listed = self._callers.site.rows(
            TICKETS,
            "SELECT ticket_id::text, cancellation_id::text, refund_amount FROM cancellations"
            f" WHERE event_id = '{event_id}' AND status IN ('DONE', 'REFUNDING')",
        )
        for ticket_id, cancellation_id, refund in listed:
            if not self._callers.world.tickets[ticket_id].cancellation_id:
                self._callers.log.add(
                    Kind.CANCELLED, ticket_id=ticket_id, cancellation_id=cancellation_id, refund=refund
                )
        self._callers.log.add(Kind.SETTLED)

    def _update(self, event: event_pb2.Event, path: str) -> None:
        request = event_service_pb2.UpdateEventRequest(event=event)
        request.update_mask.paths.append(path)
        self._callers.organizer.ask(self._callers.organizer.events.UpdateEvent, request)
