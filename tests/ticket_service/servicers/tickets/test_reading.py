"""GetTicket, ListTickets and RenderTicket."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.environment.access import CODE_SECRET, Issuer
from tests.environment.printed_pages import opened, texts
from tests.environment.qr_codes import read_qr_codes
from tests.environment.refusals import fields_at_fault, refusal
from tests.selling.rows import change, sell, sold
from ticket_service.domain.codes import Codes
from ticket_service.domain.events import AdmissionPolicy, Offer, TicketType
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import event_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb

CODES = Codes(CODE_SECRET)


async def test_a_holder_reads_the_code_and_the_token(stub, issuer, database, clock):
    event, [ticket_id] = await sold(database, clock)
    response = await stub.GetTicket(pb.GetTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
    ticket = response.ticket
    assert ticket.ticket_id == str(ticket_id)
    assert ticket.code == CODES.code(ticket_id, 1)
    assert ticket.token.startswith("T1")
    assert ticket.status == ticket_pb2.TICKET_STATUS_ACTIVE
    assert ticket.ticket_type == event_pb2.TICKET_TYPE_STANDARD
    assert (ticket.price_paid.currency_code, ticket.price_paid.minor_units) == ("EUR", 2_500)
    assert ticket.valid_from_time.ToDatetime(tzinfo=UTC) == event.doors_open_time
    assert ticket.valid_until_time.ToDatetime(tzinfo=UTC) == event.end_time
    assert ticket.payment_id == f"pay-{ticket.purchase_id}"
    assert dict(ticket.metadata) == {"seat": "any"}
    assert (ticket.issue, ticket.user_id, ticket.cancellation_id) == (1, "alice", "")
    assert not ticket.HasField("event")
    assert not ticket.qr_code_url
    assert not ticket.HasField("check_in_time")


async def test_the_full_view_has_the_event_and_the_qr_code(stub, issuer, database, clock):
    event, [ticket_id] = await sold(database, clock)
    request = pb.GetTicketRequest(ticket_id=str(ticket_id), view=ticket_pb2.TICKET_VIEW_FULL)
    ticket = (await stub.GetTicket(request, metadata=issuer.metadata())).ticket
    assert ticket.event.event_id == str(event.event_id)
    assert ticket.event.name == "Concert"
    head, _, data = ticket.qr_code_url.partition(",")
    assert head == "data:image/png;base64"
    assert read_qr_codes(base64.b64decode(data)) == [ticket.token]


async def test_a_code_is_found_as_people_type_it(stub, issuer, ticket_id):
    code = CODES.code(ticket_id, 1)
    digits = code.removeprefix("TKT-").lower().replace("0", "o").replace("1", "l")
    for typed in (f" {code.lower()} ", digits, f"tkt {digits[:8]}\N{EN DASH}{digits[8:]}"):
        response = await stub.GetTicket(pb.GetTicketRequest(code=typed), metadata=issuer.metadata())
        assert response.ticket.ticket_id == str(ticket_id)


@pytest.mark.parametrize(
    ("who", "is_found"),
    [
        (("user", "alice"), True),
        (("user", "bob"), False),
        (("organizer", "olga"), True),
        (("organizer", "oscar"), False),
        (("organizer", "alice"), True),
        (("service", "shop"), True),
    ],
)
async def test_only_holder_service_and_organizer_find_a_ticket(stub, issuer, ticket_id, who, is_found):
    code = CODES.code(ticket_id, 1)
    for request, metadata in [
        (pb.GetTicketRequest(ticket_id=str(ticket_id)), {"ticket_id": str(ticket_id)}),
        (pb.GetTicketRequest(code=code), {"code": code}),
    ]:
        call = stub.GetTicket(request, metadata=issuer.metadata(*who))
        if is_found:
            ticket = (await call).ticket
            assert ticket.code
            assert ticket.payment_id
        else:
            assert (await refusal(call)).cause == ("TICKET_NOT_FOUND", metadata)


async def test_a_holder_who_is_not_the_buyer_reads_no_payment(stub, issuer, ticket_id, database):
    await change(database, ticket_id, user_id="bob")
    request = pb.GetTicketRequest(ticket_id=str(ticket_id))
    ticket = (await stub.GetTicket(request, metadata=issuer.metadata(subject="bob"))).ticket
    assert ticket.token
    assert not ticket.payment_id


async def test_a_code_may_be_any_text_of_bounded_length(stub, issuer):
    user = issuer.metadata()
    refused = await refusal(stub.GetTicket(pb.GetTicketRequest(code="☃ '; --"), metadata=user))
    assert refused.reason == "TICKET_NOT_FOUND"
    for code in ("", "x" * 2**20, "TKT\0"):
        assert await fields_at_fault(stub.GetTicket(pb.GetTicketRequest(code=code), metadata=user)) == ["code"]


async def test_bad_requests_name_every_field_at_fault(stub, issuer):
    user, service = issuer.metadata(), issuer.metadata("service")
    unknown: Any = 77  # No enum has this value.
    get = pb.GetTicketRequest(view=unknown)
    tickets = pb.ListTicketsRequest(status=unknown, event_id="x", user_id="u" * 256, view=unknown)
    render = pb.RenderTicketRequest(ticket_id="x", format=unknown, paper=unknown)
    cancellations = pb.ListCancellationsRequest(status=unknown, event_id="x", user_id="\0")
    for call, fields in [
        (stub.GetTicket(get, metadata=user), ["view", "ticket_id"]),
        (stub.ListTickets(tickets, metadata=user), ["status", "event_id", "user_id", "view"]),
        (stub.ListTickets(pb.ListTicketsRequest(page_size=-1), metadata=user), ["page_size"]),
        (stub.ListTickets(pb.ListTicketsRequest(page_token="zzz"), metadata=user), ["page_token"]),
        (stub.RenderTicket(render, metadata=user), ["ticket_id", "format", "paper"]),
        (
            stub.CancelTicket(pb.CancelTicketRequest(ticket_id="x", reason="r" * 501), metadata=user),
            ["ticket_id", "reason"],
        ),
        (stub.GetCancellation(pb.GetCancellationRequest(), metadata=user), ["cancellation_id"]),
        (stub.ListCancellations(cancellations, metadata=user), ["status", "event_id", "user_id"]),
        (stub.ConfirmRefund(pb.ConfirmRefundRequest(), metadata=service), ["cancellation_id", "refund_id"]),
        (
            stub.ConfirmRefund(pb.ConfirmRefundRequest(purchase_id="x", refund_id="r" * 256), metadata=service),
            ["purchase_id", "refund_id"],
        ),
    ]:
        assert await fields_at_fault(call) == fields


async def test_a_list_has_pages_newest_first(stub, issuer, database, clock):
    _, ticket_ids = await sold(database, clock, 5)
    got: list[str] = []
    token = ""
    for expected in (2, 2, 1):
        request = pb.ListTicketsRequest(page_size=2, page_token=token)
        response = await stub.ListTickets(request, metadata=issuer.metadata())
        assert len(response.tickets) == expected
        got += [ticket.ticket_id for ticket in response.tickets]
        token = response.next_page_token
    assert token == ""
    assert got == [str(ticket_id) for ticket_id in reversed(ticket_ids)]


async def test_a_page_token_belongs_to_one_caller_and_filter(stub, issuer, database, clock):
    event, _ = await sold(database, clock, 3)
    first = await stub.ListTickets(pb.ListTicketsRequest(page_size=1), metadata=issuer.metadata())
    for request, metadata in [
        (pb.ListTicketsRequest(page_token=first.next_page_token), issuer.metadata(subject="bob")),
        (pb.ListTicketsRequest(page_token=first.next_page_token, event_id=str(event.event_id)), issuer.metadata()),
    ]:
        assert await fields_at_fault(stub.ListTickets(request, metadata=metadata)) == ["page_token"]


async def test_users_list_only_their_own_tickets(stub, issuer, database, clock):
    event, alices = await sold(database, clock, 2)
    bobs = await database.run(lambda connection: sell(connection, event, 1, user_id="bob"))
    other, others = await sold(database, clock, organizer_id="oscar", user_id="olga")

    async def listed(role: str, subject: str, **request: Any) -> set[UUID]:
        response = await stub.ListTickets(pb.ListTicketsRequest(**request), metadata=issuer.metadata(role, subject))
        return {UUID(ticket.ticket_id) for ticket in response.tickets}

    assert await listed("user", "alice") == {*alices}
    assert await listed("user", "alice", user_id="bob") == set()
    assert await listed("user", "alice", event_id=str(other.event_id)) == set()
    assert await listed("organizer", "olga") == {*alices, *bobs, *others}
    assert await listed("organizer", "olga", user_id="bob") == {*bobs}
    assert await listed("organizer", "olga", event_id=str(event.event_id)) == {*alices, *bobs}
    assert await listed("organizer", "oscar") == {*others}
    assert await listed("service", "shop") == {*alices, *bobs, *others}
    assert await listed("service", "shop", user_id="alice") == {*alices}


async def test_a_list_is_filtered_by_the_derived_status(stub, issuer, database, clock):
    _, [active, used, blocked] = await sold(database, clock, 3)
    await change(database, used, check_in_time=clock())
    await change(database, blocked, status="BLOCKED")
    _, [inside] = await sold(database, clock, admission_policy=AdmissionPolicy.RE_ENTRY)
    await change(database, inside, check_in_time=clock())
    _, [expired] = await sold(database, clock, starts_in=timedelta(days=-1))
    day = (Offer(TicketType.VIP, 100, valid_until_time=clock() - timedelta(hours=1)),)
    _, [day_ticket] = await sold(database, clock, offers=day, ticket_type=TicketType.VIP)
    by_status = {
        ticket_pb2.TICKET_STATUS_ACTIVE: {active, inside},
        ticket_pb2.TICKET_STATUS_USED: {used},
        ticket_pb2.TICKET_STATUS_EXPIRED: {expired, day_ticket},
        ticket_pb2.TICKET_STATUS_BLOCKED: {blocked},
        ticket_pb2.TICKET_STATUS_REFUNDED: set(),
    }
    for status, expected in by_status.items():
        response = await stub.ListTickets(pb.ListTicketsRequest(status=status), metadata=issuer.metadata())
        assert {UUID(ticket.ticket_id) for ticket in response.tickets} == expected
        assert all(ticket.status == status for ticket in response.tickets)


async def test_a_full_list_of_a_hundred_tickets_has_every_code(stub, issuer, database, clock):
    await sold(database, clock, 101)
    request = pb.ListTicketsRequest(page_size=1_000, view=ticket_pb2.TICKET_VIEW_FULL)
    response = await stub.ListTickets(request, metadata=issuer.metadata())
    assert len(response.tickets) == 100
    assert len({ticket.qr_code_url for ticket in response.tickets}) == 100


@pytest.mark.parametrize(
    ("form", "drawn_as"),
    [
        (pb.TICKET_FORMAT_UNSPECIFIED, ("image/png", "png")),
        (pb.TICKET_FORMAT_PNG, ("image/png", "png")),
        (pb.TICKET_FORMAT_SVG, ("image/svg+xml", "svg")),
    ],
)
async def test_a_drawing_is_named_after_the_code(stub, issuer, ticket_id, form, drawn_as):
    media_type, suffix = drawn_as
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=form)
    drawn = await stub.RenderTicket(request, metadata=issuer.metadata())
    assert drawn.media_type == media_type
    assert drawn.file_name == f"{CODES.code(ticket_id, 1)}.{suffix}"
    if suffix == "png":
        ticket = await stub.GetTicket(pb.GetTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
        assert read_qr_codes(drawn.content) == [ticket.ticket.token]
    else:
        assert drawn.content.startswith(b"<svg ")


async def test_a_cancelled_ticket_is_not_drawn(stub, issuer, ticket_id, database):
    await change(database, ticket_id, status="REFUNDED")
    call = stub.RenderTicket(pb.RenderTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
    assert (await refusal(call)).cause == ("TICKET_NOT_ACTIVE", {"ticket_id": str(ticket_id), "status": "REFUNDED"})


async def test_a_foreign_ticket_is_not_drawn(stub, issuer, ticket_id):
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id))
    refused = await refusal(stub.RenderTicket(request, metadata=issuer.metadata(subject="bob")))
    assert refused.reason == "TICKET_NOT_FOUND"


async def test_a_ticket_is_drawn_as_a_page_and_a_calendar_entry(stub, issuer, ticket_id):
    for form, media_type, suffix, beginning in [
        (pb.TICKET_FORMAT_PDF, "application/pdf", "pdf", b"%PDF-"),
        (pb.TICKET_FORMAT_ICS, "text/calendar", "ics", b"BEGIN:VCALENDAR"),
    ]:
        request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=form)
        drawn = await stub.RenderTicket(request, metadata=issuer.metadata())
        assert (drawn.media_type, drawn.file_name) == (media_type, f"{CODES.code(ticket_id, 1)}.{suffix}")
        assert drawn.content.startswith(beginning)


@pytest.mark.parametrize("wallet", ["APPLE_WALLET", "GOOGLE_WALLET"])
async def test_a_wallet_without_keys_is_refused(stub, issuer, ticket_id, wallet):
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=pb.TicketFormat.Value(f"TICKET_FORMAT_{wallet}"))
    refused = await refusal(stub.RenderTicket(request, metadata=issuer.metadata()))
    assert refused.cause == ("FORMAT_NOT_CONFIGURED", {"format": wallet})


async def test_the_tickets_of_a_purchase_are_drawn_in_one_file(stub, issuer, database, clock):
    _, [first, cancelled, moved, last] = await sold(database, clock, 4)
    await change(database, cancelled, status="REFUNDED")
    await change(database, moved, user_id="bob")
    request = pb.RenderTicketRequest(ticket_id=str(first), format=pb.TICKET_FORMAT_PDF, whole_purchase=True)
    for who, shown in [
        (issuer.metadata(), [first, last]),
        (issuer.metadata("service"), [first, moved, last]),
    ]:
        drawn = await stub.RenderTicket(request, metadata=who)
        for text, ticket_id in zip(texts(drawn.content), shown, strict=True):
            assert CODES.code(ticket_id, 1) in text
        assert drawn.file_name.startswith("tickets-")


async def test_a_purchase_is_drawn_as_pdf_only(stub, issuer, ticket_id):
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=pb.TICKET_FORMAT_ICS, whole_purchase=True)
    assert await fields_at_fault(stub.RenderTicket(request, metadata=issuer.metadata())) == ["whole_purchase"]


async def test_a_purchase_without_a_valid_ticket_is_not_drawn(stub, issuer, ticket_id, database):
    await change(database, ticket_id, status="CANCELLED")
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=pb.TICKET_FORMAT_PDF, whole_purchase=True)
    assert (await refusal(stub.RenderTicket(request, metadata=issuer.metadata()))).reason == "TICKET_NOT_ACTIVE"


async def test_the_caller_chooses_the_paper(stub, issuer, ticket_id):
    sizes = {}
    for paper in (pb.PAPER_UNSPECIFIED, pb.PAPER_LETTER, pb.PAPER_PHONE):
        request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=pb.TICKET_FORMAT_PDF, paper=paper)
        with opened((await stub.RenderTicket(request, metadata=issuer.metadata())).content) as document:
            sizes[paper] = round(document[0].get_width())
    assert list(sizes.values()) == [595, 612, 283]


async def test_a_calendar_entry_of_a_cancelled_ticket_cancels_it(stub, issuer, ticket_id, database):
    await change(database, ticket_id, status="REFUNDED")
    request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=pb.TICKET_FORMAT_ICS)
    assert b"METHOD:CANCEL" in (await stub.RenderTicket(request, metadata=issuer.metadata())).content


async def test_a_scanner_may_not_read_tickets(stub, issuer: Issuer):
    call = stub.GetTicket(pb.GetTicketRequest(ticket_id=str(new_id())), metadata=issuer.metadata("scanner", "gate"))
    assert (await refusal(call)).reason == "FORBIDDEN"


async def test_a_changed_page_token_is_refused(stub, issuer, database, clock):
    await sold(database, clock, 2)
    first = await stub.ListTickets(pb.ListTicketsRequest(page_size=1), metadata=issuer.metadata())
    token = first.next_page_token
    packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    forged = base64.urlsafe_b64encode(packed[:8] + b'["not an id"]').decode()
    request = pb.ListTicketsRequest(page_size=1, page_token=forged)
    assert await fields_at_fault(stub.ListTickets(request, metadata=issuer.metadata())) == ["page_token"]


async def test_a_check_in_is_shown(stub, issuer, database, clock):
    _, [ticket_id] = await sold(database, clock)
    at = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    await change(database, ticket_id, check_in_time=at)
    response = await stub.GetTicket(pb.GetTicketRequest(ticket_id=str(ticket_id)), metadata=issuer.metadata())
    assert response.ticket.check_in_time.ToDatetime(tzinfo=UTC) == at
    assert response.ticket.status == ticket_pb2.TICKET_STATUS_USED
