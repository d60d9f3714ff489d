"""Create an event with 300 places at 25 EUR and publish it; the organizer's token has the role `organizer`."""

import os
from datetime import UTC, datetime, timedelta

from ticketing.client import connect
from ticketing.tickets.v1 import event_pb2, event_service_pb2
from ticketing.tickets.v1.event_service_pb2_grpc import EventServiceStub

now = datetime.now(UTC)
event = event_pb2.Event(name="Night of Lights", event_type=event_pb2.EVENT_TYPE_OTHER, max_participants=300)
event.doors_open_time.FromDatetime(now - timedelta(minutes=5))
event.start_time.FromDatetime(now + timedelta(hours=2))
event.end_time.FromDatetime(now + timedelta(hours=6))
event.ticket_price.currency_code, event.ticket_price.minor_units = "EUR", 25_00

with connect(os.environ["TICKETS_ADDRESS"], os.environ["ORGANIZER_TOKEN"], plain_text=True) as channel:
    events = EventServiceStub(channel)
    draft = events.CreateEvent(event_service_pb2.CreateEventRequest(event=event)).event
    events.PublishEvent(event_service_pb2.PublishEventRequest(event_id=draft.event_id))
    print(draft.event_id)
