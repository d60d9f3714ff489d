import asyncio
import uuid
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.struct_pb2 import Struct

from tests.environment.messages import at
from tests.environment.refusals import refusal
from tests.selling.shop import GROUP, STANDARD, VIP, Shop, items, money, new_id
from ticket_service.store.tables import contacts
from ticketing.tickets.v1 import event_pb2, purchase_pb2, purchase_service_pb2

OTTO = ("organizer", "otto")
ITEM = purchase_pb2.PurchaseItem(ticket_type=STANDARD, quantity=1)
OF_NO_TYPE = purchase_pb2.PurchaseItem(ticket_type=9, quantity=10_000)  # type: ignore[arg-type]  # no such type


def line(kind: "event_pb2.TicketType.ValueType", price: int = 0, **changes: Any) -> event_pb2.TicketOffer:
    return event_pb2.TicketOffer(ticket_type=kind, price=money(price), **changes)


async def get(shop: Shop, purchase_id: str, by: tuple[str, str] = Shop.ALICE) -> purchase_pb2.Purchase:
    request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase_id)
    return (await shop.purchases.GetPurchase(request, metadata=shop.metadata(by))).purchase


def listing(
    shop: Shop, by: tuple[str, str] = Shop.ALICE, **query: Any
) -> Awaitable[purchase_service_pb2.ListPurchasesResponse]:
    request = purchase_service_pb2.ListPurchasesRequest(**query)
    return shop.purchases.ListPurchases(request, metadata=shop.metadata(by))


def paid(minor_units: int, payment_id: str = "payment-1") -> dict[str, object]:
    return {"external_payment_id": payment_id, "expected_total": money(minor_units)}


async def test_a_free_purchase_is_completed_with_its_tickets(shop, clock):
    event = await shop.on_sale(max_participants=10)
    purchase = await shop.buy(event.event_id, quantity=2)
    assert purchase.status == purchase_pb2.PURCHASE_STATUS_COMPLETED
    assert (purchase.user_id, purchase.total, purchase.payment.provider) == ("alice", money(0), "free")
    assert purchase.create_time == purchase.complete_time == at(clock())
    assert [item.quantity for item in purchase.items] == [2]
    assert len({ticket.token for ticket in purchase.tickets}) == 2
    assert all(ticket.code.startswith("TKT-") and ticket.user_id == "alice" for ticket in purchase.tickets)
    after = await shop.get(event.event_id)
    assert (after.current_participants, after.available_tickets) == (2, 8)
    assert (after.revision, after.etag) == (event.revision + 2, event.etag)


async def test_a_purchase_reads_like_its_first_answer(shop):
    event = await shop.on_sale(offers=[line(VIP, 500), line(STANDARD, 300)])
    metadata = Struct()
    metadata.update({"seat": "A1"})
    bought = await shop.buy(
        event.event_id,
        Shop.BACKEND,
        user_id="alice",
        items=items((VIP, 2), (STANDARD, 1)),
        metadata=metadata,
        **paid(1300),
    )
    assert (bought.payment.provider, bought.payment.payment_id, bought.total) == ("external", "payment-1", money(1300))
    assert [ticket.price_paid.minor_units for ticket in bought.tickets] == [500, 500, 300]
    assert bought.tickets[0].metadata["seat"] == "A1"
    for by in (Shop.ALICE, Shop.BACKEND, Shop.OLGA):
        assert await get(shop, bought.purchase_id, by) == bought


async def test_a_foreign_purchase_is_not_found(shop):
    bought = await shop.buy((await shop.on_sale()).event_id)
    for by in (("user", "bob"), OTTO):
        refused = await refusal(get(shop, bought.purchase_id, by))
        assert refused.code is grpc.StatusCode.NOT_FOUND
        assert (refused.reason, refused.metadata) == ("PURCHASE_NOT_FOUND", {"purchase_id": bought.purchase_id})


async def test_a_repeated_request_buys_once_and_gets_the_same_answer(shop):
    event = await shop.on_sale()
    request_id = new_id()
    first = await shop.buy(event.event_id, quantity=2, request_id=request_id)
    assert await shop.buy(event.event_id, quantity=2, request_id=request_id) == first
    assert (await shop.get(event.event_id)).current_participants == 2


async def test_concurrent_repetitions_buy_once(shop):
    event = await shop.on_sale()
    request_id = new_id()
    answers = await asyncio.gather(*(shop.buy(event.event_id, request_id=request_id) for _ in range(20)))
    assert len({answer.purchase_id for answer in answers}) == 1
    assert all(answer == answers[0] for answer in answers)
    assert (await shop.get(event.event_id)).current_participants == 1


async def test_a_replay_is_answered_before_any_precondition(shop, clock):
    event = await shop.on_sale(max_participants=1)
    request_id = new_id()
    first = await shop.buy(event.event_id, request_id=request_id)
    clock.advance(timedelta(days=30))
    again = await shop.buy(event.event_id, request_id=request_id)
    assert again.purchase_id == first.purchase_id


@pytest.mark.parametrize(
    "change",
    [{"items": items((STANDARD, 2))}, {"items": items((VIP, 1))}, {"user_id": "bob"}, paid(0), {"event_id": None}],
)
async def test_a_request_id_is_refused_for_another_request(shop, change):
    event, other = await shop.on_sale(), await shop.on_sale()
    request_id = new_id()
    await shop.buy(event.event_id, Shop.BACKEND, request_id=request_id)
    if "event_id" in change:
        change = {"event_id": other.event_id}
    refused = await refusal(
        shop.buy(**{"event_id": event.event_id, "by": Shop.BACKEND, "request_id": request_id, **change})
    )
    assert refused.code is grpc.StatusCode.ALREADY_EXISTS
    assert (refused.reason, refused.metadata) == ("REQUEST_ID_REUSED", {"request_id": request_id})


async def test_the_order_of_items_does_not_matter(shop):
    event = await shop.on_sale()
    request_id = new_id()
    first = await shop.buy(event.event_id, request_id=request_id, items=items((STANDARD, 1), (VIP, 2)))
    assert await shop.buy(event.event_id, request_id=request_id, items=items((VIP, 2), (STANDARD, 1))) == first


async def test_a_request_without_effect_is_forgotten(shop):
    draft = await shop.create()
    request_id = new_id()
    assert (await refusal(shop.buy(draft.event_id, request_id=request_id))).reason == "EVENT_NOT_FOUND"
    await shop.publish(draft.event_id)
    assert (await shop.buy(draft.event_id, request_id=request_id)).tickets


async def test_one_payment_pays_one_purchase(shop):
    event = await shop.on_sale(ticket_price=money(100))
    bought = await shop.buy(event.event_id, Shop.BACKEND, **paid(100))
    refused = await refusal(shop.buy(event.event_id, Shop.BACKEND, **paid(100)))
    assert refused.code is grpc.StatusCode.ALREADY_EXISTS
    assert refused.reason == "PAYMENT_ALREADY_USED"
    assert refused.metadata == {"payment_id": "payment-1", "purchase_id": bought.purchase_id}


async def test_concurrent_uses_of_a_payment_pay_one_purchase(shop):
    events = [await shop.on_sale(ticket_price=money(100)) for _ in range(2)]
    calls = [shop.buy(events[n % 2].event_id, Shop.BACKEND, **paid(100)) for n in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, purchase_pb2.Purchase) for answer in answers) == 1


async def test_a_total_other_than_the_expected_one_is_refused(shop):
    event = await shop.on_sale(ticket_price=money(250))
    refused = await refusal(shop.buy(event.event_id, Shop.BACKEND, quantity=2, **paid(400)))
    assert refused.reason == "PRICE_CHANGED"
    euros = {"actual": "500", "currency_code": "EUR"}
    assert refused.metadata == {"expected": "400", "expected_currency_code": "EUR", **euros}
    dollars = {"external_payment_id": "p", "expected_total": money(500, "USD")}
    other_currency = await refusal(shop.buy(event.event_id, Shop.BACKEND, quantity=2, **dollars))
    assert other_currency.reason == "PRICE_CHANGED"
    assert other_currency.metadata == {"expected": "500", "expected_currency_code": "USD", **euros}


async def test_the_last_places_are_sold_once(shop):
    event = await shop.on_sale(max_participants=3)
    await shop.buy(event.event_id, quantity=2)
    refused = await refusal(shop.buy(event.event_id, quantity=2))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOLD_OUT")
    assert refused.metadata == {"event_id": event.event_id, "requested": "2", "available": "1"}
    assert (await shop.buy(event.event_id)).tickets


async def test_an_offer_sells_no_more_than_its_capacity(shop):
    event = await shop.on_sale(offers=[line(VIP, capacity=1), line(STANDARD)])
    await shop.buy(event.event_id, items=items((VIP, 1), (STANDARD, 2)))
    refused = await refusal(shop.buy(event.event_id, items=items((VIP, 1))))
    assert refused.metadata == {
        "event_id": event.event_id, "ticket_type": "VIP", "requested": "1", "available": "0"
    }  # fmt: skip
    assert [offer.reserved for offer in (await shop.get(event.event_id)).offers] == [1, 2]


async def test_tickets_of_an_offer_have_its_times(shop, clock):
    begin, end = at(clock() + timedelta(days=10, hours=1)), at(clock() + timedelta(days=10, hours=2))
    event = await shop.on_sale(offers=[line(VIP, valid_from_time=begin, valid_until_time=end), line(STANDARD)])
    vip, standard = (await shop.buy(event.event_id, items=items((VIP, 1), (STANDARD, 1)))).tickets
    assert (vip.valid_from_time, vip.valid_until_time) == (begin, end)
    assert (standard.valid_from_time, standard.valid_until_time) == (event.start_time, event.end_time)


async def test_an_event_with_offers_sells_only_their_types(shop):
    event = await shop.on_sale(offers=[line(VIP)])
    refused = await refusal(shop.buy(event.event_id))
    assert refused.reason == "NOT_ON_SALE"
    assert refused.metadata == {"event_id": event.event_id, "status": "PUBLISHED", "ticket_type": "STANDARD"}


async def test_a_type_is_sold_within_its_sales_window(shop, clock):
    begin, end = clock() + timedelta(hours=1), clock() + timedelta(hours=2)
    event = await shop.on_sale(offers=[line(STANDARD, sales_start_time=at(begin), sales_end_time=at(end))])
    assert (await refusal(shop.buy(event.event_id))).reason == "NOT_ON_SALE"
    clock.now = begin
    assert (await shop.buy(event.event_id)).tickets
    clock.now = end
    assert (await refusal(shop.buy(event.event_id))).reason == "NOT_ON_SALE"


async def test_a_purchase_keeps_within_the_offer_and_the_service(shop):
    event = await shop.on_sale(offers=[line(GROUP, min_per_purchase=5, max_per_purchase=6), line(STANDARD)])
    for kind, quantity, least, most in ((GROUP, 4, "5", "6"), (GROUP, 7, "5", "6"), (STANDARD, 21, "1", "20")):
        refused = await refusal(shop.buy(event.event_id, items=items((kind, quantity))))
        assert refused.reason == "PURCHASE_LIMIT"
        assert refused.metadata == {
            "ticket_type": event_pb2.TicketType.Name(kind).removeprefix("TICKET_TYPE_"), "min": least, "max": most
        }  # fmt: skip
    assert len((await shop.buy(event.event_id, items=items((GROUP, 5), (STANDARD, 20)))).tickets) == 25


async def test_a_draft_sells_nothing_and_is_hidden_from_others(shop):
    draft = await shop.create()
    refused = await refusal(shop.buy(draft.event_id, Shop.OLGA))
    assert (refused.reason, refused.metadata) == ("NOT_ON_SALE", {"event_id": draft.event_id, "status": "DRAFT"})
    assert (await refusal(shop.buy(draft.event_id))).reason == "EVENT_NOT_FOUND"


async def test_an_ended_event_sells_nothing(shop, clock):
    event = await shop.on_sale()
    clock.advance(timedelta(days=11))
    refused = await refusal(shop.buy(event.event_id))
    assert (refused.reason, refused.metadata["event_id"]) == ("EVENT_ENDED", event.event_id)


async def test_an_unknown_event_is_not_found(shop):
    event_id = str(uuid.uuid4())
    refused = await refusal(shop.buy(event_id))
    assert (refused.code, refused.metadata) == (grpc.StatusCode.NOT_FOUND, {"event_id": event_id})


async def test_organizers_sell_only_their_own_events(shop):
    event = await shop.on_sale(ticket_price=money(100))
    assert (await shop.buy(event.event_id, Shop.OLGA, user_id="alice", **paid(100))).user_id == "alice"
    assert (await refusal(shop.buy(event.event_id, OTTO, **paid(100, "payment-2")))).reason == "EVENT_NOT_FOUND"


@pytest.mark.parametrize("power", [paid(0), {"user_id": "bob"}])
async def test_users_may_not_bring_payments_or_buy_for_others(shop, power):
    event = await shop.on_sale()
    refused = await refusal(shop.buy(event.event_id, **power))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert refused.metadata == {"method": "/ticketing.tickets.v1.PurchaseService/PurchaseTickets", "role": "user"}


async def test_a_payment_of_a_free_purchase_is_ignored(shop):
    event = await shop.on_sale()
    bought = await shop.buy(event.event_id, Shop.BACKEND, **paid(0))
    assert (bought.payment.provider, bought.payment.payment_id) == ("free", "")


async def test_unconfigured_provider_is_a_failed_precondition(shop):
    event = await shop.on_sale(ticket_price=money(100), max_participants=1)
    card = await refusal(shop.buy(event.event_id, payment_method_id="pm_1"))
    assert card.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (card.reason, card.metadata) == ("PROVIDER_NOT_CONFIGURED", {"provider": "stripe"})
    assert (await shop.get(event.event_id)).available_tickets == 1


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"request_id": "", "event_id": "x"}, {"request_id", "event_id"}),
        ({"items": []}, {"items"}),
        ({"items": [ITEM] * 5}, {"items"}),
        ({"items": items((STANDARD, 1), (STANDARD, 1))}, {"items[1].ticket_type"}),
        ({"items": [purchase_pb2.PurchaseItem(), OF_NO_TYPE]}, {f"items[{n}].{f}" for n in (0, 1) for f in ("ticket_type", "quantity")}),
        ({"email": "nobody"}, {"email"}),
        ({"email": "a@" + "b" * 253}, {"email"}),
        ({"user_id": "u" * 256}, {"user_id"}),
        ({"external_payment_id": ""}, {"external_payment_id", "expected_total"}),
        ({"external_payment_id": "p\0", "expected_total": money(-1, "€")},
         {"external_payment_id", "expected_total.currency_code", "expected_total.minor_units"}),
    ],
)  # fmt: skip
async def test_every_field_at_fault_is_named_at_once(shop, change, fields):
    refused = await refusal(shop.buy(**{"event_id": new_id(), "by": Shop.BACKEND, **change}))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == fields


async def test_invalid_or_large_metadata_is_a_violation(shop):
    for content in ({"x": float("nan")}, {"x": "y" * 4_096}):
        metadata = Struct()
        metadata.update(content)
        assert (await refusal(shop.buy(new_id(), metadata=metadata))).fields == {"metadata"}


async def test_text_that_looks_like_an_array_is_unchanged(shop):
    event = await shop.on_sale(ticket_price=money(1))
    odd = "a\"b\\c,{NULL}'%s é"
    bought = await shop.buy(event.event_id, Shop.BACKEND, user_id=odd, **paid(1, odd))
    read = await get(shop, bought.purchase_id, Shop.BACKEND)
    assert (read.user_id, read.payment.payment_id) == (odd, odd)


async def test_mail_goes_to_the_request_or_the_token_address(shop, tickets_url):
    event = await shop.on_sale()
    await shop.buy(event.event_id, email="alice@example.org")
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=new_id(), event_id=event.event_id, items=items((STANDARD, 1))
    )
    await shop.purchases.PurchaseTickets(request, metadata=shop.metadata(("user", "bob"), email="bob@example.org"))
    await shop.buy(event.event_id, ("user", "carol"))
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = set(connection.scalars(sa.select(contacts.c.email)))
    assert found == {"alice@example.org", "bob@example.org"}


async def test_purchases_are_listed_newest_first_without_tickets(shop):
    event, other = await shop.on_sale(), await shop.on_sale()
    made = [await shop.buy(e.event_id) for e in (event, other, event)]
    await shop.buy(event.event_id, ("user", "bob"))
    first = await listing(shop, page_size=2)
    second = await listing(shop, page_size=2, page_token=first.next_page_token)
    found = [*first.purchases, *second.purchases]
    assert [purchase.purchase_id for purchase in found] == [purchase.purchase_id for purchase in reversed(made)]
    assert not any(purchase.tickets for purchase in found)
    assert not second.next_page_token
    assert [p.purchase_id for p in (await listing(shop, event_id=other.event_id)).purchases] == [made[1].purchase_id]


async def test_callers_list_only_purchases_that_they_may_see(shop):
    own, foreign = await shop.on_sale(), await shop.on_sale(OTTO)
    for event in (own, foreign):
        for user in ("alice", "bob"):
            await shop.buy(event.event_id, ("user", user))

    async def count(by: tuple[str, str], **query: Any) -> int:
        return len((await listing(shop, by, **query)).purchases)

    assert await count(Shop.ALICE) == 2
    assert await count(Shop.ALICE, user_id="bob") == 0
    assert await count(Shop.OLGA) == 2
    assert await count(Shop.OLGA, user_id="bob") == 1
    assert await count(Shop.BACKEND) == 4
    assert await count(Shop.BACKEND, event_id=own.event_id) == 2


async def test_invalid_filters_of_a_list_are_violations(shop):
    refused = await refusal(listing(shop, event_id="x", user_id="u" * 256))
    assert refused.fields == {"event_id", "user_id"}
    assert (await refusal(listing(shop, page_token="x"))).fields == {"page_token"}
    assert (await refusal(get(shop, "x"))).fields == {"purchase_id"}
