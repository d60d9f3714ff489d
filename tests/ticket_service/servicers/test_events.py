from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from tests.environment.messages import at, struct
from tests.environment.refusals import Refusal, refusal
from tests.selling.shop import STANDARD, VIP, Shop, event, items, money, new_id
from ticket_service.domain.events import EventStatus
from ticket_service.domain.queries import EventQuery
from ticketing.chassis.paging import page_token
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2


def offer(
    kind: "event_pb2.TicketType.ValueType" = STANDARD, price: int = 1_000, **changes: Any
) -> event_pb2.TicketOffer:
    return event_pb2.TicketOffer(**{"ticket_type": kind, "price": money(price), **changes})


def listing(
    shop: Shop, by: tuple[str, str] = Shop.ALICE, **query: Any
) -> Awaitable[event_service_pb2.ListEventsResponse]:
    return shop.events.ListEvents(event_service_pb2.ListEventsRequest(**query), metadata=shop.metadata(by))


def not_found(event_id: str) -> Refusal:
    return Refusal(grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND", {"event_id": event_id}, frozenset())


async def test_an_event_keeps_all_values_of_its_organizer(shop, clock):
    now = clock()
    given = event(
        now,
        description="Loud",
        doors_open_time=at(now + timedelta(days=9)),
        time_zone="Europe/Berlin",
        location="Hall",
        is_online=True,
        max_participants=500,
        ticket_price=money(2_500),
        offers=[
            offer(VIP, 9_000, capacity=0, min_per_purchase=2, max_per_purchase=4),
            offer(sales_start_time=at(now), sales_end_time=at(now + timedelta(days=1)), min_per_purchase=1),
        ],
        refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=2, percent=80)]),
        admission_policy=event_pb2.ADMISSION_POLICY_ONCE_PER_DAY,
        day_change_hour=0,
        image_url="https://example.org/concert.png",
        metadata=struct(genre="jazz", nested={"list": [1, None, True]}),
    )
    request = event_service_pb2.CreateEventRequest(request_id=new_id(), event=given)
    created = (await shop.events.CreateEvent(request, metadata=shop.metadata(Shop.OLGA))).event
    expected = event_pb2.Event()
    expected.CopyFrom(given)
    expected.event_id = created.event_id
    expected.status = event_pb2.EVENT_STATUS_DRAFT
    expected.available_tickets = 500
    expected.create_time.CopyFrom(at(now))
    expected.update_time.CopyFrom(at(now))
    expected.revision = 1
    expected.etag = "1"
    expected.organizer_id = "olga"
    assert created == expected
    assert await shop.get(created.event_id, Shop.OLGA) == created


async def test_a_missing_field_gets_its_default(shop):
    created = await shop.create()
    assert created.time_zone == "UTC"
    assert created.admission_policy == event_pb2.ADMISSION_POLICY_SINGLE_ENTRY
    assert not created.HasField("max_participants")
    assert not created.HasField("available_tickets")


async def test_output_only_fields_of_a_new_event_are_ignored(shop):
    created = await shop.create(event_id="x", organizer_id="mallory", status=3, revision=99, etag="e")
    assert (created.organizer_id, created.revision) == ("olga", 1)


async def test_a_repeated_creation_returns_the_present_event(shop, clock):
    request = event_service_pb2.CreateEventRequest(request_id=new_id(), event=event(clock()))
    olga = shop.metadata(Shop.OLGA)
    first = (await shop.events.CreateEvent(request, metadata=olga)).event
    published = await shop.publish(first.event_id)
    assert (await shop.events.CreateEvent(request, metadata=olga)).event == published


async def test_a_request_id_belongs_to_one_event_and_one_caller(shop, clock):
    request = event_service_pb2.CreateEventRequest(request_id=new_id(), event=event(clock()))
    olga, otto = shop.metadata(Shop.OLGA), shop.metadata(("organizer", "otto"))
    await shop.events.CreateEvent(request, metadata=olga)
    await shop.events.CreateEvent(request, metadata=otto)
    request.event.name = "Another"
    refused = await refusal(shop.events.CreateEvent(request, metadata=olga))
    assert refused.code is grpc.StatusCode.ALREADY_EXISTS
    assert (refused.reason, refused.metadata) == ("REQUEST_ID_REUSED", {"request_id": request.request_id})


async def test_every_field_at_fault_is_named_at_once(shop, clock):
    now = clock()
    bad = event_pb2.Event(
        event_type=77,  # type: ignore[arg-type]  # no such type
        start_time=at(now),
        end_time=at(now - timedelta(days=1)),
        ticket_price=money(-1, "euro"),
        image_url="http://example.org",
    )
    request = event_service_pb2.CreateEventRequest(request_id="no", event=bad)
    refused = await refusal(shop.events.CreateEvent(request, metadata=shop.metadata(Shop.OLGA)))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == {
        "request_id",
        "event.name",
        "event.event_type",
        "event.end_time",
        "event.ticket_price.minor_units",
        "event.ticket_price.currency_code",
        "event.image_url",
    }


async def test_a_draft_is_hidden_from_all_but_its_organizer(shop):
    draft = await shop.create()
    assert (await shop.get(draft.event_id, Shop.OLGA)).event_id == draft.event_id
    for by in (Shop.ALICE, Shop.BACKEND, ("scanner", "gate"), ("organizer", "otto")):
        assert await refusal(shop.get(draft.event_id, by)) == not_found(draft.event_id)


async def test_everyone_reads_a_published_event(shop):
    published = await shop.on_sale()
    for by in (Shop.ALICE, Shop.BACKEND, ("scanner", "gate"), ("organizer", "otto")):
        assert await shop.get(published.event_id, by) == published


async def test_an_event_is_completed_after_its_end(shop, clock):
    published = await shop.on_sale()
    clock.advance(timedelta(days=11))
    assert (await shop.get(published.event_id)).status == event_pb2.EVENT_STATUS_COMPLETED


async def test_a_malformed_event_id_is_a_violation(shop):
    assert (await refusal(shop.get("1234"))).fields == {"event_id"}


async def test_publishing_takes_one_revision_however_often(shop):
    draft = await shop.create()
    published = await shop.publish(draft.event_id)
    assert published.status == event_pb2.EVENT_STATUS_PUBLISHED
    assert (published.revision, published.etag) == (2, "2")
    assert await shop.publish(draft.event_id) == published


async def test_an_ended_draft_cannot_be_published(shop, clock):
    draft = await shop.create()
    clock.advance(timedelta(days=11))
    refused = await refusal(shop.publish(draft.event_id))
    assert (refused.reason, refused.metadata["event_id"]) == ("EVENT_ENDED", draft.event_id)


async def test_a_foreign_event_cannot_be_published_or_changed(shop):
    published = await shop.on_sale()
    otto = ("organizer", "otto")
    assert await refusal(shop.publish(published.event_id, otto)) == not_found(published.event_id)
    assert await refusal(shop.update(published, "name", by=otto)) == not_found(published.event_id)


async def test_an_update_changes_only_the_fields_of_its_mask(shop):
    before = await shop.on_sale()
    wanted = event_pb2.Event(event_id=before.event_id, name="Concert, moved", location="Park", description="ignored")
    after = await shop.update(wanted, "name", "location")
    before.name, before.location, before.etag, before.revision = "Concert, moved", "Park", "3", 3
    assert after == before
    assert await shop.get(before.event_id) == after


async def test_an_update_clears_masked_fields_that_are_absent(shop):
    before = await shop.create(max_participants=5, offers=[offer()], description="Loud")
    wanted = event_pb2.Event(event_id=before.event_id)
    after = await shop.update(wanted, "max_participants", "offers", "description")
    assert not after.HasField("max_participants")
    assert (list(after.offers), after.description) == ([], "")


async def test_an_update_without_a_change_changes_nothing(shop):
    before = await shop.on_sale()
    assert await shop.update(before, "name", "start_time") == before


async def test_a_field_that_gates_do_not_need_takes_no_revision(shop):
    before = await shop.on_sale()
    after = await shop.update(event_pb2.Event(event_id=before.event_id, description="Louder"), "description")
    assert (after.revision, after.etag) == (before.revision, "3")


@pytest.mark.parametrize("path", ["status", "event_id", "revision", "etag", "organizer_id", "no_such", "offers.price"])
async def test_output_only_and_unknown_paths_are_violations(shop, path):
    draft = await shop.create()
    assert (await refusal(shop.update(draft, "name", path))).fields == {"update_mask.paths[1]"}


@pytest.mark.parametrize(
    ("place", "at_fault"),
    [
        ({"latitude": -90, "longitude": 180}, set()),
        ({"latitude": 90.1, "longitude": 13}, {"latitude"}),
        ({"latitude": "52", "longitude": True}, {"latitude", "longitude"}),
        ({"latitude": 52}, {"longitude"}),
    ],
)
async def test_a_place_beyond_the_earth_is_refused(shop: Shop, place, at_fault: set[str]):
    draft = await shop.create()
    wanted = event_pb2.Event(event_id=draft.event_id, metadata=struct(**place))
    if not at_fault:
        assert (await shop.update(wanted, "metadata")).metadata == wanted.metadata
    else:
        refused = await refusal(shop.update(wanted, "metadata"))
        assert refused.fields == {f"event.metadata.{name}" for name in at_fault}


async def test_a_wrong_design_of_printed_tickets_is_refused(shop):
    own = {"paper": "A0", "color": "red", "logo": "../../etc/passwd.png", "terms": "x" * 301, "font": "Arial"}
    draft = await shop.create(metadata=struct(ticket_page={"color": "#112233"}))
    wrong = event_pb2.Event(event_id=draft.event_id, metadata=struct(ticket_page=own))
    refused = await refusal(shop.update(wrong, "metadata"))
    assert refused.fields == {f"event.metadata.ticket_page.{name}" for name in own}
    wrong.metadata.CopyFrom(struct(ticket_page="A4"))
    assert (await refusal(shop.update(wrong, "metadata"))).fields == {"event.metadata.ticket_page"}


async def test_a_logo_that_the_service_does_not_have_is_refused(shop):
    draft = await shop.create()
    wrong = event_pb2.Event(event_id=draft.event_id, metadata=struct(ticket_page={"logo": "hall.png"}))
    refused = await refusal(shop.update(wrong, "metadata"))
    assert refused.fields == {"event.metadata.ticket_page.logo"}


async def test_an_update_without_a_mask_is_refused(shop):
    draft = await shop.create()
    assert (await refusal(shop.update(draft))).fields == {"update_mask"}


async def test_an_update_is_compared_with_the_stored_event(shop):
    draft = await shop.create(offers=[offer()])
    ends_first = event_pb2.Event(event_id=draft.event_id, end_time=draft.start_time, ticket_price=money(5, "USD"))
    refused = await refusal(shop.update(ends_first, "end_time", "ticket_price"))
    assert refused.fields == {"event.end_time", "event.offers[0].price.currency_code"}


async def test_an_update_of_an_older_etag_is_refused(shop):
    draft = await shop.create()
    await shop.publish(draft.event_id)
    draft.name = "Gala"
    refused = await refusal(shop.update(draft, "name"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert refused.metadata == {"etag": "2"}


async def test_a_repeated_update_returns_the_changed_event(shop):
    """A client repeats an update whose answer was lost, with the etag that the update has replaced."""
    on_sale = await shop.on_sale(offers=[offer()])
    await shop.buy(on_sale.event_id)
    wanted = await shop.get(on_sale.event_id)
    wanted.name, wanted.offers[0].capacity = "Gala", 7
    changed = await shop.update(wanted, "name", "offers")
    assert changed.etag != wanted.etag
    assert await shop.update(wanted, "name", "offers") == changed


async def test_a_completed_event_does_not_change(shop, clock):
    published = await shop.on_sale()
    clock.advance(timedelta(days=11))
    refused = await refusal(shop.update(published, "description"))
    assert refused.metadata == {"event_id": published.event_id, "field": "description"}
    assert refused.reason == "EVENT_NOT_CHANGEABLE"


async def test_capacity_does_not_fall_below_the_sold_tickets(shop):
    published = await shop.on_sale(max_participants=10, offers=[offer(price=0, capacity=10)])
    await shop.buy(published.event_id, quantity=3)
    total = event_pb2.Event(event_id=published.event_id, max_participants=2)
    refused = await refusal(shop.update(total, "max_participants"))
    assert refused.reason == "CAPACITY_BELOW_RESERVED"
    assert refused.metadata == {"event_id": published.event_id, "reserved": "3"}
    line = event_pb2.Event(event_id=published.event_id, offers=[offer(price=0, capacity=2)])
    refused = await refusal(shop.update(line, "offers"))
    assert refused.metadata == {"event_id": published.event_id, "ticket_type": "STANDARD", "reserved": "3"}
    line.offers[0].capacity = 3
    assert (await shop.update(line, "offers")).offers[0].reserved == 3


async def test_currency_and_offer_of_sold_tickets_do_not_change(shop):
    published = await shop.on_sale(offers=[offer(price=0), offer(VIP)])
    await shop.buy(published.event_id)
    base = event_pb2.Event(event_id=published.event_id)
    dearer = event_pb2.Event(event_id=published.event_id, offers=[offer(price=1), offer(VIP)])
    gone = event_pb2.Event(event_id=published.event_id, offers=[offer(VIP)])
    for wanted in (dearer, gone):
        refused = await refusal(shop.update(wanted, "offers"))
        assert (refused.reason, refused.metadata["field"]) == ("EVENT_NOT_CHANGEABLE", "offers")
    base.ticket_price.CopyFrom(money(0, "USD"))
    base.offers.extend([offer(price=0), offer(VIP)])
    for line in base.offers:
        line.price.currency_code = "USD"
    refused = await refusal(shop.update(base, "offers", "ticket_price"))
    assert refused.metadata["field"] == "ticket_price.currency_code"


async def test_a_later_offer_counts_tickets_sold_before(shop):
    published = await shop.on_sale()
    await shop.buy(published.event_id, quantity=4)
    priced = event_pb2.Event(event_id=published.event_id, offers=[offer(price=700, capacity=5)])
    assert (await shop.update(priced, "offers")).offers[0].reserved == 4
    refused = await refusal(
        shop.buy(published.event_id, Shop.BACKEND, quantity=2, external_payment_id="p", expected_total=money(1_400))
    )
    assert (refused.reason, refused.metadata["available"]) == ("SOLD_OUT", "1")


async def test_events_are_listed_by_start_time_page_by_page(shop, clock):
    now = clock()
    starts = [now + timedelta(days=days) for days in (3, 1, 2, 2)]
    made = [await shop.on_sale(start_time=at(s), end_time=at(s + timedelta(hours=1))) for s in starts]
    await shop.create()
    expected = sorted(made, key=lambda event: (event.start_time.seconds, event.event_id))
    first = await listing(shop, page_size=3)
    second = await listing(shop, page_size=3, page_token=first.next_page_token)
    assert [*first.events, *second.events] == expected
    assert not second.next_page_token


async def test_events_are_listed_by_type_and_earliest_start(shop, clock):
    workshop = await shop.on_sale(event_type=event_pb2.EVENT_TYPE_WORKSHOP)
    other = await shop.on_sale()
    found = await listing(shop, event_type=event_pb2.EVENT_TYPE_WORKSHOP)
    assert list(found.events) == [workshop]
    assert list((await listing(shop, min_start_time=at(clock() + timedelta(days=10)))).events) == [workshop, other]
    assert not (await listing(shop, min_start_time=at(clock() + timedelta(days=11)))).events


async def test_organizers_list_their_drafts_and_all_past_events(shop, clock):
    draft, foreign = await shop.create(), await shop.create(("organizer", "otto"))
    over = await shop.on_sale(("organizer", "otto"), end_time=at(clock() + timedelta(days=11)))
    assert list((await listing(shop, Shop.OLGA, status=event_pb2.EVENT_STATUS_DRAFT)).events) == [draft]
    clock.advance(timedelta(days=12))
    assert [e.event_id for e in (await listing(shop, Shop.OLGA, status=4)).events] == [over.event_id]
    assert not (await listing(shop)).events
    assert foreign.event_id != draft.event_id


async def test_only_organizers_list_events_that_are_not_on_sale(shop):
    refused = await refusal(listing(shop, status=event_pb2.EVENT_STATUS_DRAFT))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert refused.metadata == {"method": "/ticketing.tickets.v1.EventService/ListEvents", "role": "user"}


async def test_a_page_token_belongs_to_one_list(shop):
    for _ in range(2):
        await shop.on_sale()
    token = (await listing(shop, page_size=1)).next_page_token
    queries: list[dict[str, Any]] = [{"event_type": 1}, {"page_size": -1}]
    for query in queries:
        refused = await refusal(listing(shop, page_token=token, **query))
        assert refused.fields == {"page_size" if "page_size" in query else "page_token"}
    assert (await refusal(listing(shop, Shop.BACKEND, page_token=token))).fields == {"page_token"}


async def test_a_page_token_without_a_position_is_refused(shop):
    forged = page_token(["yesterday", "x"], ["alice", EventQuery(EventStatus.PUBLISHED, None, None)])
    assert (await refusal(listing(shop, page_token=forged))).fields == {"page_token"}


async def test_unknown_enums_and_times_of_a_list_are_violations(shop):
    request = event_service_pb2.ListEventsRequest(event_type=99, status=99)  # type: ignore[arg-type]  # no such values
    request.min_start_time.seconds = 10**15
    refused = await refusal(shop.events.ListEvents(request, metadata=shop.metadata()))
    assert refused.fields == {"event_type", "status", "min_start_time"}


async def test_users_create_no_events(shop):
    assert (await refusal(shop.create(Shop.ALICE))).reason == "FORBIDDEN"


async def test_a_cancelled_event_sells_nothing(shop):
    published = await shop.on_sale()
    await shop.buy(published.event_id)
    request = event_service_pb2.CancelEventRequest(event_id=published.event_id, reason="storm")
    response = await shop.events.CancelEvent(request, metadata=shop.metadata(Shop.OLGA))
    assert response.event.status == event_pb2.EVENT_STATUS_CANCELLED
    assert not response.gates_closed, "there is no scan service here"
    refused = await refusal(shop.buy(published.event_id))
    assert refused.reason == "NOT_ON_SALE"
    assert (await shop.get(published.event_id)).status == event_pb2.EVENT_STATUS_CANCELLED


async def test_the_reason_of_an_event_cancellation_is_bounded(shop):
    request = event_service_pb2.CancelEventRequest(event_id="x", reason="r" * 501)
    refused = await refusal(shop.events.CancelEvent(request, metadata=shop.metadata(Shop.OLGA)))
    assert refused.fields == {"event_id", "reason"}


async def test_sales_are_summed_up_by_type_and_status(shop, clock):
    published = await shop.on_sale(ticket_price=money(0), offers=[offer(price=0), offer(VIP, 0)])
    await shop.buy(published.event_id, quantity=2)
    await shop.buy(published.event_id, items=items((VIP, 1)))
    request = event_service_pb2.GetEventSalesRequest(event_id=published.event_id)
    active, expired = ticket_pb2.TICKET_STATUS_ACTIVE, ticket_pb2.TICKET_STATUS_EXPIRED
    sales = await shop.events.GetEventSales(request, metadata=shop.metadata(Shop.OLGA))
    assert [(line.ticket_type, line.status, line.tickets) for line in sales.lines] == [
        (STANDARD, active, 2),
        (VIP, active, 1),
    ]
    clock.advance(timedelta(days=20))
    sales = await shop.events.GetEventSales(request, metadata=shop.metadata(Shop.OLGA))
    assert {line.status for line in sales.lines} == {expired}


async def test_the_preview_of_a_cancellation_sums_up_its_refunds(shop):
    event = await shop.on_sale(ticket_price=money(2_500))
    payment = {"external_payment_id": "pay-1", "expected_total": money(5_000)}
    await shop.buy(event.event_id, Shop.BACKEND, quantity=2, **payment)
    await shop.buy(event.event_id, quantity=3)
    request = event_service_pb2.PreviewEventCancellationRequest(event_id=event.event_id)
    preview = await shop.events.PreviewEventCancellation(request, metadata=shop.metadata(Shop.OLGA))
    assert preview == event_service_pb2.PreviewEventCancellationResponse(
        lines=[
            event_service_pb2.CancellationPreviewLine(
                outcome=event_service_pb2.TICKET_OUTCOME_REFUND_REQUESTED,
                provider="external",
                tickets=2,
                paid=money(5_000),
                refund=money(5_000),
            )
        ],
        held_places=3,
    )


async def test_a_sold_event_cannot_end_in_the_past(shop, clock):
    event = await shop.on_sale()
    held = await shop.buy(event.event_id)
    event.start_time.FromDatetime(clock() - timedelta(days=400))
    event.end_time.FromDatetime(clock() - timedelta(days=399))
    refused = await refusal(shop.update(event, "start_time", "end_time"))
    assert refused.cause == ("EVENT_NOT_CHANGEABLE", {"event_id": event.event_id, "field": "end_time"})
    assert (await shop.get(event.event_id)).status == event_pb2.EVENT_STATUS_PUBLISHED
    assert held.tickets


async def test_an_ended_event_is_corrected_and_on_sale_again(shop, clock):
    event = await shop.on_sale()
    event.start_time.FromDatetime(clock() - timedelta(days=400))
    event.end_time.FromDatetime(clock() - timedelta(days=399))
    ended = await shop.update(event, "start_time", "end_time")
    assert ended.status == event_pb2.EVENT_STATUS_COMPLETED
    ended.location = "Park"
    refused = await refusal(shop.update(ended, "end_time", "location"))
    assert refused.cause == ("EVENT_NOT_CHANGEABLE", {"event_id": event.event_id, "field": "location"})
    clock.advance(timedelta(days=29))
    ended.start_time.FromDatetime(clock() + timedelta(days=1))
    ended.end_time.FromDatetime(clock() + timedelta(days=2))
    assert (await shop.update(ended, "start_time", "end_time")).status == event_pb2.EVENT_STATUS_PUBLISHED
    assert (await shop.buy(event.event_id)).tickets


async def test_a_mistyped_year_is_refused(shop, clock):
    late = clock() + timedelta(days=3_654)
    refused = await refusal(shop.create(start_time=at(late), end_time=at(late + timedelta(hours=1))))
    assert refused.reason == "INVALID_ARGUMENT"
    assert refused.fields == {"event.start_time", "event.end_time"}


async def test_times_at_the_edges_are_kept(shop, clock):
    first, last = datetime(1971, 1, 1, tzinfo=UTC), clock() + timedelta(days=3_653)
    created = await shop.create(start_time=at(first), end_time=at(last))
    assert (created.start_time, created.end_time) == (at(first), at(last))
