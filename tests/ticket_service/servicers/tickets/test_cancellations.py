"""CancelTicket and its refund."""

from datetime import UTC, timedelta
from typing import Any

import grpc
import sqlalchemy as sa

from tests.environment.refusals import refusal
from tests.selling.rows import change, sold
from ticket_service.store.tables import purchases
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb


async def test_a_cancellation_returns_the_refund_and_the_ticket(stub, issuer, database, clock, scans):
    _, [ticket_id] = await sold(database, clock, starts_in=timedelta(days=5))
    request = pb.CancelTicketRequest(ticket_id=str(ticket_id), reason="ill")
    response = await stub.CancelTicket(request, metadata=issuer.metadata())
    cancellation = response.cancellation
    assert cancellation.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING
    assert (cancellation.refund_amount.currency_code, cancellation.refund_amount.minor_units) == ("EUR", 1_250)
    assert (cancellation.refund_percent, cancellation.reason) == (50, "ill")
    assert cancellation.create_time.ToDatetime(tzinfo=UTC) == clock()
    assert not cancellation.HasField("complete_time")
    assert response.ticket.status == ticket_pb2.TICKET_STATUS_REFUNDED
    assert response.ticket.cancellation_id == cancellation.cancellation_id
    again = await stub.CancelTicket(request, metadata=issuer.metadata())
    assert again == response
    assert len(scans.calls) == 1


async def test_a_used_ticket_is_not_cancelled(stub, issuer, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    await change(database, ticket_id, check_in_time=clock())
    call = stub.CancelTicket(pb.CancelTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
    assert (await refusal(call)).cause == (
        "TICKET_CHECKED_IN",
        {"ticket_id": str(ticket_id), "check_in_time": clock().isoformat()},
    )
    assert scans.calls == []


async def test_a_blocked_ticket_is_not_cancelled(stub, issuer, ticket_id, database):
    await change(database, ticket_id, status="BLOCKED")
    call = stub.CancelTicket(pb.CancelTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
    assert (await refusal(call)).cause == ("TICKET_NOT_CANCELLABLE", {"ticket_id": str(ticket_id), "status": "BLOCKED"})


async def test_the_sweeper_completes_a_pending_cancellation(stub, issuer, database, clock, scans):
    _, [ticket_id] = await sold(database, clock)
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    request = pb.CancelTicketRequest(ticket_id=str(ticket_id))
    response = await stub.CancelTicket(request, metadata=issuer.metadata())
    assert response.cancellation.status == ticket_pb2.CANCELLATION_STATUS_PENDING
    assert response.ticket.status == ticket_pb2.TICKET_STATUS_ACTIVE
    assert response.ticket.cancellation_id == response.cancellation.cancellation_id
    scans.fails_with = None
    scans.called.clear()
    clock.advance(timedelta(minutes=1))
    await scans.called.wait()
    # A call during and after the cancellation returns the same.
    response = await stub.CancelTicket(request, metadata=issuer.metadata())
    assert response.cancellation.status == ticket_pb2.CANCELLATION_STATUS_REFUNDING


async def test_a_cancellation_is_visible_with_its_ticket(stub, issuer, database, clock):
    event, ticket_ids = await sold(database, clock, 3)
    made = [
        (
            await stub.CancelTicket(pb.CancelTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
        ).cancellation
        for ticket_id in ticket_ids
    ]
    ids = [cancellation.cancellation_id for cancellation in made]
    get = pb.GetCancellationRequest(cancellation_id=ids[0])
    assert (await stub.GetCancellation(get, metadata=issuer.metadata())).cancellation == made[0]
    assert (await refusal(stub.GetCancellation(get, metadata=issuer.metadata(subject="bob")))).cause == (
        "CANCELLATION_NOT_FOUND",
        {"cancellation_id": ids[0]},
    )

    async def listed(role: str, subject: str, **request: Any) -> list[str]:
        metadata = issuer.metadata(role, subject)
        response = await stub.ListCancellations(pb.ListCancellationsRequest(**request), metadata=metadata)
        return [cancellation.cancellation_id for cancellation in response.cancellations]

    for role, subject in [("user", "alice"), ("organizer", "olga"), ("service", "shop")]:
        assert await listed(role, subject) == ids[::-1]
    assert await listed("user", "bob") == []
    assert await listed("organizer", "oscar", event_id=str(event.event_id)) == []
    assert await listed("service", "shop", user_id="bob") == []
    assert await listed("service", "shop", event_id=str(new_id())) == []
    assert await listed("user", "alice", status=ticket_pb2.CANCELLATION_STATUS_DONE) == []
    assert await listed("user", "alice", status=ticket_pb2.CANCELLATION_STATUS_REFUNDING) == ids[::-1]
    request = pb.ListCancellationsRequest(page_size=2)
    first = await stub.ListCancellations(request, metadata=issuer.metadata())
    assert [cancellation.cancellation_id for cancellation in first.cancellations] == [ids[2], ids[1]]
    request.page_token = first.next_page_token
    rest = await stub.ListCancellations(request, metadata=issuer.metadata())
    assert [cancellation.cancellation_id for cancellation in rest.cancellations] == [ids[0]]
    assert rest.next_page_token == ""


async def test_a_backend_confirms_its_refund(stub, issuer, ticket_id, clock):
    cancel = pb.CancelTicketRequest(ticket_id=str(ticket_id))
    cancellation = (await stub.CancelTicket(cancel, metadata=issuer.metadata())).cancellation
    confirm = pb.ConfirmRefundRequest(cancellation_id=cancellation.cancellation_id, refund_id="refund-1")
    service = issuer.metadata("service", "shop")
    for _ in range(2):
        await stub.ConfirmRefund(confirm, metadata=service)
    get = pb.GetCancellationRequest(cancellation_id=cancellation.cancellation_id)
    done = (await stub.GetCancellation(get, metadata=issuer.metadata())).cancellation
    assert (done.status, done.refund_id) == (ticket_pb2.CANCELLATION_STATUS_DONE, "refund-1")
    assert done.complete_time.ToDatetime(tzinfo=UTC) == clock()
    confirm.refund_id = "refund-2"
    assert (await refusal(stub.ConfirmRefund(confirm, metadata=service))).cause == (
        "ILLEGAL_TRANSITION",
        {"from": "DONE", "to": "DONE", "instead": "NOTHING"},
    )
    assert (await refusal(stub.ConfirmRefund(confirm, metadata=issuer.metadata()))).reason == "FORBIDDEN"


async def test_a_purchase_has_no_refund_to_confirm(stub, issuer, database, clock):
    await sold(database, clock)
    query = sa.select(purchases.c.purchase_id)
    purchase_id = await database.run(lambda connection: connection.execute(query).scalar_one())
    request = pb.ConfirmRefundRequest(purchase_id=str(purchase_id), refund_id="refund-1")
    assert (await refusal(stub.ConfirmRefund(request, metadata=issuer.metadata("service", "shop")))).cause == (
        "ILLEGAL_TRANSITION",
        {"from": "COMPLETED", "to": "REFUNDED", "instead": "NOTHING"},
    )


async def test_retrying_a_refund_needs_a_cancellation_id(stub, issuer):
    call = stub.RetryRefund(pb.RetryRefundRequest(cancellation_id="x"), metadata=issuer.metadata("organizer", "olga"))
    assert (await refusal(call)).reason == "INVALID_ARGUMENT"
