import uuid
from datetime import timedelta

from ticketing.tickets.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc, money_pb2


async def test_smoke(channel, issuer, clock):
    stub = event_service_pb2_grpc.EventServiceStub(channel)
    e = event_pb2.Event(name="Concert", event_type=1, ticket_price=money_pb2.Money(currency_code="EUR"))
    e.start_time.FromDatetime(clock() + timedelta(days=10))
    e.end_time.FromDatetime(clock() + timedelta(days=11))
    md = issuer.metadata("organizer", "olga")
    r = await stub.CreateEvent(event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=e), metadata=md)
    p = await stub.PublishEvent(event_service_pb2.PublishEventRequest(event_id=r.event.event_id), metadata=md)
    assert p.event.status == event_pb2.EVENT_STATUS_PUBLISHED
    got = await stub.GetEvent(event_service_pb2.GetEventRequest(event_id=r.event.event_id), metadata=issuer.metadata())
    assert got.event == p.event
