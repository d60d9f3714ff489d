"""The language of purchases, at a running service."""

from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.refusals import refusal
from tests.selling.shop import Shop, money, new_id
from ticket_service.store.tables import purchases
from ticketing.tickets.v1 import purchase_service_pb2


async def correct(shop: Shop, by: tuple[str, str] = Shop.ALICE, **fields: Any) -> None:
    usual = {"request_id": new_id(), "email": "alice@example.com"}
    request = purchase_service_pb2.CorrectEmailRequest(**usual | fields)
    await shop.purchases.CorrectEmail(request, metadata=shop.metadata(by))


async def test_the_language_of_a_purchase_is_its_normalised_tag(shop):
    event = await shop.on_sale()
    for tag, shown in [("de_AT", "de-AT"), ("ZH-hant-tw", "zh-Hant-TW"), ("gsw", "gsw"), ("", "")]:
        bought = await shop.buy(event.event_id, language=tag)
        assert bought.language == (await shop.read(bought)).language == shown


@pytest.mark.parametrize("tag", ["x-mine", "german", "de_DE.UTF-8", "de-DE,de;q=0.9", "d" * 36])
async def test_text_that_is_no_tag_is_refused_with_its_field(shop, tag):
    event = await shop.on_sale()
    bought = await shop.buy(event.event_id)
    refused = await refusal(shop.buy(event.event_id, language=tag))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == {"language"}
    assert (await refusal(correct(shop, purchase_id=bought.purchase_id, language=tag))).fields == {"language"}


async def test_the_metadata_name_the_language_where_the_field_does_not(shop, database):
    event = await shop.on_sale()
    named = await shop.buy(event.event_id, metadata={"language": "DE"})
    assert named.language == "de"
    assert (await shop.buy(event.event_id, metadata={"language": "de"}, language="fr")).language == "fr"
    assert (await shop.buy(event.event_id, metadata={"language": "german"})).language == ""
    # A purchase of an older version has the language in its metadata alone.
    await database.run(lambda connection: connection.execute(sa.update(purchases).values(language="")))
    assert (await shop.read(named)).language == "de"


async def test_a_hold_bought_again_gets_the_new_language(shop):
    event = await shop.on_sale(ticket_price=money(1_000))
    held = await shop.buy(event.event_id, language="de")
    again = await shop.buy(event.event_id, language="fr")
    assert (again.purchase_id, again.language) == (held.purchase_id, "fr")


async def test_a_correction_of_the_address_may_change_the_language(shop):
    bought = await shop.buy((await shop.on_sale()).event_id, language="de")
    request_id = new_id()
    await correct(shop, purchase_id=bought.purchase_id)
    assert (await shop.read(bought)).language == "de"
    await correct(shop, purchase_id=bought.purchase_id, language="fr_CA", request_id=request_id)
    assert (await shop.read(bought)).language == "fr-CA"
    await correct(shop, purchase_id=bought.purchase_id, language="fr-ca", request_id=request_id)
    other = correct(shop, purchase_id=bought.purchase_id, language="es", request_id=request_id)
    assert (await refusal(other)).reason == "REQUEST_ID_REUSED"


async def test_the_holder_of_a_ticket_does_not_change_the_language_of_the_purchase(shop):
    bought = await shop.buy((await shop.on_sale()).event_id, language="de")
    refused = await refusal(correct(shop, ticket_id=bought.tickets[0].ticket_id, language="fr"))
    assert refused.fields == {"language"}
