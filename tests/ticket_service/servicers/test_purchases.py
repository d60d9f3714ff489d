import uuid
from datetime import timedelta

from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    money_pb2,
    purchase_pb2,
    purchase_service_pb2,
    purchase_service_pb2_grpc,
)


async def test_smoke(channel, issuer, clock):
    stub = event_service_pb2_grpc.EventServiceStub(channel)
    e = event_pb2.Event(name="Concert", event_type=1, ticket_price=money_pb2.Money(currency_code="EUR"))
    e.start_time.FromDatetime(clock() + timedelta(days=10))
    e.end_time.FromDatetime(clock() + timedelta(days=11))
    md = issuer.metadata("organizer", "olga")
    r = await stub.CreateEvent(event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=e), metadata=md)
    await stub.PublishEvent(event_service_pb2.PublishEventRequest(event_id=r.event.event_id), metadata=md)
    ps = purchase_service_pb2_grpc.PurchaseServiceStub(channel)
    req = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=r.event.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=1, quantity=2)],
    )
    p = await ps.PurchaseTickets(req, metadata=issuer.metadata())
    print(p)
    assert len(p.purchase.tickets) == 2
    assert await ps.PurchaseTickets(req, metadata=issuer.metadata()) == p
