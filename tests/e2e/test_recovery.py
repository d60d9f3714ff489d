"""`recover` mends a restored tickets database by what the scan service and the payment provider have."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy.engine import URL

from tests.e2e.restored_pair import OLGA, PRICE, RestoredPair
from tests.environment.access import Issuer
from tests.environment.backups import restore_whole
from tests.environment.databases import execute, read_value
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.selling.shop import GROUP, Shop, money, new_id
from tests.stand_ins.stripe import CARD, KEY, SECURE, StripeStandIn
from ticket_service.adapters.key_file import add_key
from ticket_service.store import recoveries as store
from ticket_service.use_cases.recovery_tickets import TicketMender
from ticketing.chassis.clock import system_clock
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

pytestmark = pytest.mark.slow

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED
CLEAN, NOT_CLEAN = 0, 1
LOCKING = "SELECT state FROM pg_stat_activity WHERE application_name = 'ticket_service recover lock'"


@pytest.fixture
async def pair(issuer: Issuer, tmp_path: Path, tickets_url: URL, scans_url: URL) -> AsyncIterator[RestoredPair]:
    pair = RestoredPair(tickets_url, scans_url, issuer, tmp_path)
    await pair.start_scans()
    await pair.start_tickets()
    yield pair
    await pair.close()


@pytest.fixture
def stripe() -> Iterator[StripeStandIn]:
    with StripeStandIn(system_clock) as stand_in:
        yield stand_in


@pytest.fixture
async def card_pair(
    issuer: Issuer, tmp_path: Path, tickets_url: URL, scans_url: URL, stripe: StripeStandIn
) -> AsyncIterator[RestoredPair]:
    more = {"TICKETS_STRIPE_KEY": KEY, "TICKETS_STRIPE_API_BASE": stripe.api_base}
    pair = RestoredPair(tickets_url, scans_url, issuer, tmp_path, more)
    await pair.start_scans()
    await pair.start_tickets()
    yield pair
    await pair.close()


async def test_a_restore_that_lost_nothing_is_clean(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    await pair.restore()
    assert await pair.recover() == (CLEAN, set())
    await pair.start_tickets()
    assert (await pair.scan(event, ticket.token)).verdict == ADMITTED
    assert len((await pair.buy(event)).tickets) == 1


async def test_a_lost_check_in_comes_back_and_is_not_refunded(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    scan = await pair.scan(event, ticket.token)
    await until(lambda: read_value(pair.tickets_url, "SELECT count(*) FROM tickets WHERE check_in_time IS NOT NULL"), 1)
    await pair.restore()
    assert await pair.recover() == (CLEAN, {"CHECK_IN_RESTORED"})
    await pair.start_tickets()
    restored = await pair.ticket(ticket.ticket_id)
    assert (restored.status, restored.check_in_time) == (ticket_pb2.TICKET_STATUS_USED, scan.scan_time)
    refused = await refusal(pair.cancel(ticket.ticket_id))
    assert refused.reason == "TICKET_CHECKED_IN"


async def test_a_lost_sale_keeps_its_place_and_its_ticket(pair):
    event = await pair.event(max_participants=3)
    await pair.back_up()
    lost = (await pair.buy(event, 2)).tickets
    await pair.restore()
    status, kinds = await pair.recover()
    assert (status, kinds) == (NOT_CLEAN, {"PURCHASE_LOST"})
    assert sum("PURCHASE_LOST" in line for line in pair.lines) == 3
    assert await pair.recover(accepts=True) == (CLEAN, {"PURCHASE_LOST"})
    await pair.start_tickets()
    assert await pair.shop.left(event) == 1
    assert set(await pair.find_tickets(event)) == {one.ticket_id for one in lost}
    refused = await refusal(pair.shop.buy(event.event_id, quantity=2))
    assert refused.reason == "SOLD_OUT"
    assert (await pair.scan(event, lost[0].token)).verdict == ADMITTED
    # Nobody knows its price, so it is worth nothing here.
    assert (await pair.cancel(lost[1].ticket_id)).refund_amount.minor_units == 0


async def test_a_lost_reissue_revives_no_older_print(pair):
    event = await pair.event()
    [first] = (await pair.buy(event)).tickets
    await pair.back_up()
    second = await pair.reissue(first.ticket_id)
    await pair.restore()
    assert await pair.recover(accepts=True) == (CLEAN, {"HOLDER_LOST"})
    await pair.start_tickets()
    restored = await pair.ticket(first.ticket_id)
    # The newest print is that of the same issue, so nobody needs a new one.
    assert (restored.issue, restored.token, restored.code) == (2, second.token, second.code)
    assert restored.user_id == ""
    await pair.at_gates(f"SELECT count(*) FROM tickets WHERE ticket_id = '{first.ticket_id}' AND generation > 1")
    assert (await pair.scan(event, first.token)).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
    assert (await pair.scan(event, second.token)).verdict == ADMITTED


async def test_a_lost_block_stays(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    await pair.block(ticket.ticket_id)
    await pair.restore()
    assert await pair.recover() == (CLEAN, {"TICKET_BLOCKED"})
    await pair.start_tickets()
    assert (await pair.ticket(ticket.ticket_id)).status == ticket_pb2.TICKET_STATUS_BLOCKED
    await pair.at_gates(f"SELECT count(*) FROM tickets WHERE ticket_id = '{ticket.ticket_id}' AND generation > 1")
    assert (await pair.scan(event, ticket.token)).verdict == DENIED


async def test_a_lost_cancellation_of_the_shop_is_listed(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    cancellation = await pair.cancel(ticket.ticket_id)
    await pair.restore()
    assert await pair.recover() == (NOT_CLEAN, {"CANCELLATION_RESTORED", "REFUND_UNCERTAIN"})
    assert (await pair.recover(accepts=True))[0] == CLEAN
    await pair.start_tickets()
    assert (await pair.ticket(ticket.ticket_id)).status == ticket_pb2.TICKET_STATUS_REFUNDED
    # The same cancellation as before; a repetition makes no other.
    assert (await pair.cancel(ticket.ticket_id)).cancellation_id == cancellation.cancellation_id


async def test_a_lost_refund_by_card_is_made_once(card_pair, stripe):
    event = await card_pair.event()
    bought = await card_pair.shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    bought = await card_pair.replicated(await card_pair.shop.confirm(bought))
    await card_pair.back_up()
    cancellation = await card_pair.cancel(bought.tickets[0].ticket_id)
    await until(lambda: sum(stripe.refunded().values()), PRICE)
    await card_pair.restore()
    assert await card_pair.recover() == (CLEAN, {"CANCELLATION_RESTORED"})
    await card_pair.start_tickets()
    again = await card_pair.cancel(bought.tickets[0].ticket_id)
    assert again.cancellation_id == cancellation.cancellation_id
    assert again.status == ticket_pb2.CANCELLATION_STATUS_DONE
    assert sum(stripe.refunded().values()) == PRICE
    assert (await card_pair.scan(event, bought.tickets[0].token)).verdict == DENIED
    assert (await card_pair.scan(event, bought.tickets[1].token)).verdict == ADMITTED


async def test_a_purchase_completed_since_gets_its_own_tickets(card_pair, stripe):
    event = await card_pair.event(max_participants=5)
    held = await card_pair.shop.buy(event.event_id, quantity=2, payment_method_id=SECURE)
    await card_pair.back_up()
    [payment_id] = stripe.intents
    stripe.finish(payment_id)
    await card_pair.shop.confirm(held)
    bought = await card_pair.replicated(held)
    assert len(bought.tickets) == 2
    await card_pair.restore()
    assert await card_pair.recover() == (CLEAN, {"PURCHASE_RESTORED"})
    await card_pair.start_tickets()
    restored = await card_pair.shop.read(held)
    assert restored.status == purchase_pb2.PURCHASE_STATUS_COMPLETED
    assert [one.token for one in restored.tickets] == [one.token for one in bought.tickets]
    assert await card_pair.shop.left(event) == 3
    assert (sum(stripe.charged().values()), stripe.refunded()) == (2 * PRICE, {})


async def test_a_lost_purchase_by_card_is_bought_again_from_its_charge(card_pair, stripe):
    event = await card_pair.event(max_participants=5)
    await card_pair.back_up()
    bought = await card_pair.shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    bought = await card_pair.replicated(await card_pair.shop.confirm(bought))
    await card_pair.restore()
    assert await card_pair.recover(accepts=True) == (CLEAN, {"PURCHASE_RESTORED", "HOLDER_LOST"})
    await card_pair.start_tickets()
    restored = await card_pair.purchase(event)
    assert (restored.purchase_id, restored.total.minor_units) == (bought.purchase_id, 2 * PRICE)
    assert {one.ticket_id for one in restored.tickets} == {one.ticket_id for one in bought.tickets}
    # The price is known, so a cancellation refunds it.
    await card_pair.cancel(bought.tickets[0].ticket_id)
    await until(lambda: sum(stripe.refunded().values()), PRICE)


async def test_a_payment_without_known_tickets_is_listed(card_pair, stripe):
    event = await card_pair.event()
    await card_pair.back_up()
    await card_pair.stop("scans")
    await card_pair.shop.confirm(await card_pair.shop.buy(event.event_id, payment_method_id=CARD))
    await card_pair.restore()
    await card_pair.start_scans()
    assert await card_pair.recover() == (NOT_CLEAN, {"PAYMENT_WITHOUT_PURCHASE"})
    [finding] = await card_pair.findings()
    assert (finding["details"]["amount"], finding["event_id"]) == (PRICE, event.event_id)
    assert (await card_pair.recover(accepts=True))[0] == CLEAN


@pytest.mark.parametrize(
    ("cancelled", "status"), [(1, ticket_pb2.TICKET_STATUS_ACTIVE), (2, ticket_pb2.TICKET_STATUS_BLOCKED)]
)
async def test_a_payment_that_was_returned_in_full_blocks_its_tickets(card_pair, stripe, cancelled, status):
    event = await card_pair.event()
    bought = await card_pair.shop.buy(event.event_id, quantity=2, payment_method_id=CARD)
    bought = await card_pair.replicated(await card_pair.shop.confirm(bought))
    await card_pair.back_up()
    for ticket in bought.tickets[:cancelled]:
        await card_pair.cancel(ticket.ticket_id)
    await until(lambda: sum(stripe.refunded().values()), cancelled * PRICE)
    await card_pair.restore()
    # The scans database was restored to an earlier moment too.
    execute(card_pair.scans_url, "DELETE FROM revocations; UPDATE tickets SET status = 'ACTIVE'")
    assert await card_pair.recover() == (NOT_CLEAN, {"REFUND_WITHOUT_CANCELLATION"})
    assert (await card_pair.recover(accepts=True))[0] == CLEAN
    await card_pair.start_tickets()
    assert set((await card_pair.find_tickets(event)).values()) == {status}


async def test_a_lost_refund_of_a_part_of_the_price_locks_nobody_out(card_pair, stripe):
    event = await card_pair.event()
    bought = await card_pair.shop.confirm(await card_pair.shop.buy(event.event_id, payment_method_id=CARD))
    [ticket] = (await card_pair.replicated(bought)).tickets
    await card_pair.back_up()
    request = tickets_pb.RefundTicketRequest(
        ticket_id=ticket.ticket_id, request_id=new_id(), amount=money(PRICE // 10), reason="rain"
    )
    await card_pair.tickets.RefundTicket(request, metadata=card_pair.shop.metadata(OLGA))
    await until(lambda: sum(stripe.refunded().values()), PRICE // 10)
    await card_pair.restore()
    assert await card_pair.recover() == (NOT_CLEAN, {"REFUND_WITHOUT_CANCELLATION"})
    [finding] = await card_pair.findings()
    assert finding["details"] == {"purchase_id": bought.purchase_id, "amount": PRICE // 10, "blocked_tickets": 0}
    assert (await card_pair.recover(accepts=True))[0] == CLEAN
    await card_pair.start_tickets()
    assert (await card_pair.ticket(ticket.ticket_id)).status == ticket_pb2.TICKET_STATUS_ACTIVE
    assert (await card_pair.scan(event, ticket.token)).verdict == ADMITTED


def test_a_long_recovery_keeps_its_lock(tickets_url: URL) -> None:
    with store.locked(tickets_url) as is_alone:
        assert is_alone
        # PostgreSQL ends sessions that idle in a transaction.
        assert read_value(tickets_url, LOCKING) == "idle"
        with store.locked(tickets_url) as is_second:
            assert not is_second
    with store.locked(tickets_url) as is_next:
        assert is_next


async def test_a_lost_cancellation_of_an_event_is_continued(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    request = event_service_pb2.CancelEventRequest(event_id=event.event_id)
    await pair.shop.events.CancelEvent(request, metadata=pair.shop.metadata(OLGA))
    await pair.at_gates("SELECT count(*) FROM revocations")
    await pair.restore()
    status, kinds = await pair.recover(accepts=True)
    assert (status, kinds) == (CLEAN, {"EVENT_CANCELLED", "CANCELLATION_RESTORED", "REFUND_UNCERTAIN"})
    await pair.start_tickets()
    assert (await pair.shop.get(event.event_id)).status == event_pb2.EVENT_STATUS_CANCELLED
    assert (await pair.ticket(ticket.ticket_id)).status == ticket_pb2.TICKET_STATUS_REFUNDED


async def test_a_lost_publication_a_change_and_a_lost_event_are_found(pair):
    draft = await pair.shop.create()
    changed = await pair.event()
    await pair.at_gates("SELECT count(*) FROM events", 2)
    await pair.back_up()
    await pair.shop.publish(draft.event_id)
    await pair.shop.update(event_pb2.Event(event_id=changed.event_id, etag=changed.etag, name="Gala"), "name")
    lost = await pair.event()
    await pair.at_gates("SELECT count(*) FROM events WHERE status = 'PUBLISHED'", 3)
    await pair.at_gates("SELECT count(*) FROM events WHERE name = 'Gala'")
    await pair.restore()
    status, kinds = await pair.recover(accepts=True)
    assert (status, kinds) == (CLEAN, {"EVENT_PUBLISHED", "EVENT_CHANGE_LOST", "EVENT_LOST"})
    by_kind = {one["kind"]: one for one in await pair.findings()}
    assert by_kind["EVENT_CHANGE_LOST"]["details"] == {"name": {"gates": "Gala", "here": "Concert"}}
    assert by_kind["EVENT_LOST"]["subject"] == lost.event_id
    await pair.start_tickets()
    assert (await pair.shop.get(draft.event_id)).status == event_pb2.EVENT_STATUS_PUBLISHED


async def test_keys_keep_their_ids_and_stay_retired(pair):
    await pair.event()
    await pair.at_gates("SELECT count(*) FROM signing_keys")
    await pair.back_up()
    add_key(pair.data_dir / "keys" / "signing.json")
    await pair.stop("tickets")
    await pair.start_tickets()
    await pair.at_gates("SELECT count(*) FROM signing_keys", 2)
    execute(pair.scans_url, "INSERT INTO retired_keys SELECT public_key, now() FROM signing_keys WHERE key_id = 1")
    public = "SELECT array_agg(encode(public_key, 'hex') ORDER BY key_id) FROM signing_keys"
    known = read_value(pair.tickets_url, public)
    await pair.restore()
    assert await pair.recover() == (CLEAN, {"KEY_RESTORED", "KEY_RETIRED"})
    assert read_value(pair.tickets_url, public) == known
    assert read_value(pair.tickets_url, "SELECT retire_time IS NOT NULL FROM signing_keys WHERE key_id = 1")


async def test_a_lost_group_keeps_its_purchase(pair):
    offer = event_pb2.TicketOffer(ticket_type=GROUP, price=money(PRICE), capacity=10)
    event = await pair.event(offers=[offer])
    await pair.back_up()
    group = await pair.buy(
        event,
        items=[purchase_pb2.PurchaseItem(ticket_type=GROUP, quantity=3)],
        external_payment_id=new_id(),
        expected_total=money(3 * PRICE),
        user_id="alice",
    )
    await pair.restore()
    assert await pair.recover(accepts=True) == (CLEAN, {"PURCHASE_LOST"})
    await pair.start_tickets()
    assert len(await pair.find_tickets(event)) == len(group.tickets) == 3


async def test_places_sold_before_the_recovery_raise_the_capacity(pair):
    event = await pair.event(max_participants=2)
    await pair.back_up()
    await pair.buy(event, 2)
    await pair.stop("scans")
    await pair.restore()
    # Somebody started the service before the recovery, while no scan service could object.
    await pair.start_tickets()
    await pair.shop.buy(
        event.event_id,
        Shop.BACKEND,
        quantity=1,
        external_payment_id=new_id(),
        expected_total=money(PRICE),
        user_id="bob",
    )
    await pair.start_scans()
    assert await pair.recover(accepts=True) == (CLEAN, {"PURCHASE_LOST", "CAPACITY_EXCEEDED"})
    await pair.shop.get(event.event_id)
    assert await pair.shop.left(event) == 0


async def test_changes_are_refused_until_the_recovery_has_ended(pair):
    event = await pair.event()
    [ticket] = (await pair.buy(event)).tickets
    await pair.back_up()
    await pair.buy(event)
    await pair.restore()
    assert (await pair.recover())[0] == NOT_CLEAN
    await pair.start_tickets()
    for call in (pair.shop.buy(event.event_id), pair.cancel(ticket.ticket_id), pair.shop.create()):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RECOVERING")
        assert refused.retry_seconds
    assert (await pair.ticket(ticket.ticket_id)).token == ticket.token
    # Gates go on.
    assert (await pair.scan(event, ticket.token)).verdict == ADMITTED
    # The recovery ends beside the running service, which then sells again.
    assert (await pair.recover(accepts=True))[0] == CLEAN
    await until(lambda: _sells(pair, event))
    await until(lambda: read_value(pair.tickets_url, "SELECT count(*) FROM tickets WHERE check_in_time IS NOT NULL"), 1)


async def _sells(pair: RestoredPair, event: event_pb2.Event) -> bool:
    try:
        await pair.buy(event)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_restored_database_is_noticed_without_the_operator(pair):
    event = await pair.event()
    await pair.back_up()
    await pair.buy(event, 3)
    await pair.restore()
    await pair.start_tickets()
    open_ = "SELECT coalesce(max(cause), '') FROM recoveries WHERE end_time IS NULL"
    await until(lambda: read_value(pair.tickets_url, open_), "LOST_COMMITS")
    refused = await refusal(pair.shop.buy(event.event_id))
    assert refused.reason == "RECOVERING"
    assert (await pair.recover(accepts=True))[0] == CLEAN


async def test_commits_lost_under_a_running_service_are_noticed(pair):
    event = await pair.event()
    await pair.buy(event)
    await pair.back_up()
    await pair.buy(event, 3)
    # As after the promotion of a replica that had not received the last commits: the service goes on.
    await asyncio.to_thread(restore_whole, pair.tickets_url, pair.backup)
    open_ = "SELECT coalesce(max(cause), '') FROM recoveries WHERE end_time IS NULL"
    await until(lambda: read_value(pair.tickets_url, open_), "LOST_COMMITS")
    assert (await refusal(pair.shop.buy(event.event_id))).reason == "RECOVERING"


async def test_a_payment_whose_id_is_lost_is_no_second_payment(pair):
    event = await pair.event()
    held = await pair.shop.buy(event.event_id)
    await pair.back_up()
    await pair.shop.report_payment(held, "pay-1")
    await pair.replicated(held)
    await pair.restore()
    assert await pair.recover(accepts=True) == (CLEAN, {"PURCHASE_RESTORED", "PAYMENT_ID_LOST"})
    await pair.start_tickets()
    again = await pair.shop.report_payment(held, "pay-1")
    assert again.status == purchase_pb2.PURCHASE_STATUS_COMPLETED
    assert read_value(pair.tickets_url, "SELECT count(*) FROM payments WHERE refund_due") == 0


async def test_an_interrupted_recovery_ends_the_same(pair, monkeypatch):
    event = await pair.event()
    first, second = (await pair.buy(event, 2)).tickets
    await pair.back_up()
    await pair.block(first.ticket_id)
    await pair.scan(event, second.token)
    await pair.buy(event)
    await pair.restore()
    mend = TicketMender.mend

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the power fails")

    with monkeypatch.context() as broken:
        broken.setattr(TicketMender, "mend", fail)
        with pytest.raises(RuntimeError):
            await pair.recover()
    assert TicketMender.mend is mend
    kinds = {"TICKET_BLOCKED", "CHECK_IN_RESTORED", "PURCHASE_LOST"}
    assert await pair.recover() == (NOT_CLEAN, kinds)
    found = await pair.findings()
    assert await pair.recover(accepts=True) == (CLEAN, kinds)
    assert await pair.findings() == found
    recorded = "SELECT count(*) FROM changes WHERE kind = 'DATABASE_RECOVERED'"
    assert read_value(pair.tickets_url, recorded) == 1
