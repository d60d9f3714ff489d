"""ReissueTicket, TransferTicket and SetTicketBlocked."""

from tests.environment.access import CODE_SECRET
from tests.environment.refusals import fields_at_fault, refusal
from ticket_service.domain.codes import Codes
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb

CODES = Codes(CODE_SECRET)


async def test_only_the_new_code_finds_a_reissued_ticket(stub, issuer, ticket_id):
    user = issuer.metadata()
    before = (await stub.GetTicket(pb.GetTicketRequest(ticket_id=str(ticket_id)), metadata=user)).ticket
    request = pb.ReissueTicketRequest(ticket_id=str(ticket_id), request_id=str(new_id()))
    after = (await stub.ReissueTicket(request, metadata=user)).ticket
    assert (after.issue, after.code) == (2, CODES.code(ticket_id, 2))
    assert after.token not in {"", before.token}
    assert (await refusal(stub.GetTicket(pb.GetTicketRequest(code=before.code), metadata=user))).cause == (
        "TICKET_NOT_FOUND",
        {"code": before.code},
    )
    found = (await stub.GetTicket(pb.GetTicketRequest(code=after.code), metadata=user)).ticket
    assert found == after


async def test_the_old_holder_reads_no_code_after_a_transfer(stub, issuer, ticket_id):
    request = pb.TransferTicketRequest(
        ticket_id=str(ticket_id), user_id="bob", email="bob@example.org", request_id=str(new_id())
    )
    for _ in range(2):
        received = (await stub.TransferTicket(request, metadata=issuer.metadata())).ticket
        assert (received.user_id, received.issue) == ("bob", 2)
        assert (received.code, received.token, received.qr_code_url) == ("", "", "")
    get = pb.GetTicketRequest(ticket_id=str(ticket_id), view=ticket_pb2.TICKET_VIEW_FULL)
    assert (await refusal(stub.GetTicket(get, metadata=issuer.metadata()))).reason == "TICKET_NOT_FOUND"
    his = (await stub.GetTicket(get, metadata=issuer.metadata(subject="bob"))).ticket
    assert his.token
    assert his.qr_code_url
    assert not his.payment_id


async def test_a_blocked_ticket_shows_its_status(stub, issuer, ticket_id):
    organizer = issuer.metadata("organizer", "olga")
    for blocked, status in [(True, ticket_pb2.TICKET_STATUS_BLOCKED), (False, ticket_pb2.TICKET_STATUS_ACTIVE)]:
        request = pb.SetTicketBlockedRequest(ticket_id=str(ticket_id), blocked=blocked)
        assert (await stub.SetTicketBlocked(request, metadata=organizer)).ticket.status == status


async def test_invalid_changes_name_every_field_at_fault(stub, issuer):
    user, organizer = issuer.metadata(), issuer.metadata("organizer", "olga")
    for call, fields in [
        (stub.ReissueTicket(pb.ReissueTicketRequest(), metadata=user), ["request_id", "ticket_id"]),
        (
            stub.TransferTicket(pb.TransferTicketRequest(email="nobody"), metadata=user),
            ["request_id", "ticket_id", "user_id", "email"],
        ),
        (stub.SetTicketBlocked(pb.SetTicketBlockedRequest(ticket_id="x"), metadata=organizer), ["ticket_id"]),
    ]:
        assert await fields_at_fault(call) == fields
