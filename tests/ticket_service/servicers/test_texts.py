"""Texts of requests and access tokens in NFC, and texts that the edge refuses, at a running service."""

import unicodedata

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.refusals import refusal
from tests.selling.shop import Shop, new_id
from ticket_service.store.tables import events
from ticketing.tickets.v1 import purchase_service_pb2, ticket_service_pb2_grpc
from ticketing.tickets.v1.ticket_service_pb2 import ListTicketsRequest, TransferTicketRequest

COMPOSED, DECOMPOSED = "Zoë-Ü한", unicodedata.normalize("NFD", "Zoë-Ü한")


async def test_a_user_id_finds_its_purchase_in_either_form(shop, channel):
    event = await shop.on_sale(name=DECOMPOSED, location=DECOMPOSED)
    assert (event.name, event.location) == (COMPOSED, COMPOSED)
    bought = await shop.buy(event.event_id, Shop.BACKEND, user_id=DECOMPOSED, metadata={DECOMPOSED: [DECOMPOSED]})
    assert bought.user_id == COMPOSED
    assert dict(bought.tickets[0].metadata) == {COMPOSED: [COMPOSED]}
    for subject in (COMPOSED, DECOMPOSED):
        # The subject of the access token too.
        assert (await shop.read(bought, ("user", subject))).purchase_id == bought.purchase_id
        of_user = purchase_service_pb2.ListPurchasesRequest(user_id=subject)
        listed = await shop.purchases.ListPurchases(of_user, metadata=shop.metadata(Shop.BACKEND))
        assert [one.purchase_id for one in listed.purchases] == [bought.purchase_id]
    tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
    own = await tickets.ListTickets(ListTicketsRequest(), metadata=shop.metadata(("user", DECOMPOSED)))
    assert [one.ticket_id for one in own.tickets] == [bought.tickets[0].ticket_id]


async def test_both_forms_of_a_user_id_are_one_customer_and_one_caller(shop):
    event = await shop.on_sale(max_tickets_per_customer=1)
    request_id = new_id()
    first = await shop.buy(event.event_id, ("user", COMPOSED), request_id=request_id)
    again = await shop.buy(event.event_id, ("user", DECOMPOSED), request_id=request_id)
    assert again.purchase_id == first.purchase_id
    assert (await refusal(shop.buy(event.event_id, ("user", DECOMPOSED)))).reason == "CUSTOMER_TICKET_LIMIT"


@pytest.mark.parametrize(
    "zone", ["localtime", "Factory", "posixrules", "right/Europe/Berlin", "Etc/Unknown", "europe/berlin"]
)
async def test_a_zone_that_only_one_system_knows_is_refused(shop, database, zone):
    refused = await refusal(shop.create(time_zone=zone))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == {"event.time_zone"}


async def test_an_event_of_an_older_version_keeps_its_texts_and_is_sold(shop, database):
    event = await shop.on_sale()
    stored = {"time_zone": "Factory", "name": "Con\ncert\x07", "location": "Hall\n" * 40}
    of_page = {"metadata": {"ticket_page": "ours"}}
    await database.run(lambda connection: connection.execute(sa.update(events).values(stored | of_page)))
    event.description = "New"
    updated = await shop.update(event, "description")
    assert {name: getattr(updated, name) for name in stored} == stored
    assert (await shop.buy(event.event_id)).tickets
    # A new value is checked.
    event.name = stored["name"]
    assert (await refusal(shop.update(event, "name"))).fields == {"event.name"}


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", "Con\ncert"),
        ("name", "\u202etrecnoC"),
        ("name", " \u200b\u3164"),
        ("name", "a" + "\u0301" * 31),
        ("description", "a\x1bb"),
        ("location", "Hall" + "\n" * 90),
        ("location", "\u2067Hall"),
    ],
)
async def test_text_that_no_page_can_show_is_refused_with_its_field(shop, field, text):
    refused = await refusal(shop.create(**{field: text}))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == {f"event.{field}"}


async def test_lines_of_an_address_are_kept_and_blank_ones_are_none(shop):
    assert (await shop.create(location="Town Hall\r\nBerlin")).location == "Town Hall\nBerlin"
    assert (await shop.create(location=" \n\u200b")).location == ""


async def test_a_subject_that_shows_nothing_is_no_user(shop):
    event = await shop.on_sale()
    for subject in ("  ", "ali\nce", "\u202ealice", "a" + "\u0301" * 200):
        refused = await refusal(shop.buy(event.event_id, ("user", subject)))
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED


async def test_an_address_that_the_mail_server_does_not_take_is_refused(shop, channel):
    event = await shop.on_sale()
    address = "jörg@example.com"
    assert (await refusal(shop.buy(event.event_id, email=address))).fields == {"email"}
    bought = await shop.buy(event.event_id, email="bob@münchen.de")
    correction = purchase_service_pb2.CorrectEmailRequest(
        request_id=new_id(), purchase_id=bought.purchase_id, email=address
    )
    refused = await refusal(shop.purchases.CorrectEmail(correction, metadata=shop.metadata()))
    assert refused.fields == {"email"}
    transfer = TransferTicketRequest(
        request_id=new_id(), ticket_id=bought.tickets[0].ticket_id, user_id="jörg", email=address
    )
    tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
    assert (await refusal(tickets.TransferTicket(transfer, metadata=shop.metadata()))).fields == {"email"}
