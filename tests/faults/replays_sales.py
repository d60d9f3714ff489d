"""Scenarios of faults in sales, money and terms: each repeats the steps that once broke a promise.

A scenario ends where the checks begin. The checks, not the scenario, decide whether a promise is broken.
"""

from functools import partial
from threading import Event, Thread
from typing import Final

from tests.environment.waiting import eventually
from tests.faults.sales_checks import money
from tests.faults.site import HOLD_SECONDS, SCANS, TICKETS
from tests.faults.stage import Stage
from tests.faults.world import PRICE, SoldTicket
from tests.stand_ins.stripe import CARD, PROCESSING, SECURE
from ticketing.tickets.v1 import purchase_service_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

# More purchases than a sweep looks at.
MANY: Final = 20
WAIT_SECONDS: Final = 30.0
REFUNDED: Final = "SELECT count(*) FROM refund_orders WHERE status = 'DONE'"


def release_while_charging(stage: Stage) -> None:
    """Release a purchase after its charge was created and before the id is stored; then a confirmation stays unanswered."""
    event, user_id = stage.event(), stage.world.new_user()
    created, goes_on = Event(), Event()

    def hold_create(operation: str) -> None:
        if operation == "create":
            created.set()
            goes_on.wait(WAIT_SECONDS)

    stage.site.stripe.on_arrival = hold_create
    stage.site.stripe.loses["confirm"] = 1
    buy = partial(stage.buyer.buy, event, "card", payment_method_id=CARD, user_id=user_id)
    paying = Thread(target=buy, name="buyer")
    paying.start()
    assert created.wait(WAIT_SECONDS)
    wanted = purchase_service_pb2.ListPurchasesRequest(event_id=event.event_id, user_id=user_id)
    [held] = stage.shop.call("ListPurchases", wanted).purchases
    releasing = Thread(target=stage.buyer.release, args=(held,), name="other window of the buyer")
    with stage.locked_event(TICKETS, event):
        goes_on.set()
        # The id of the charge waits for the event first, and the release behind it.
        stage.await_waiting(TICKETS, 1)
        releasing.start()
        stage.await_waiting(TICKETS, 2)
    paying.join()
    releasing.join()
    stage.settle()


def card_behind_slow_banks(stage: Stage) -> None:
    """Let banks process many charges past their holds, while another buyer's card needs the sweeper."""
    event = stage.event()
    slow = [stage.world.new_user() for _ in range(MANY)]
    for user_id in slow:
        stage.buyer.buy(event, "card", 1, payment_method_id=PROCESSING, user_id=user_id)
    purchases = f"SELECT purchase_id::text FROM purchases WHERE user_id IN ({', '.join(map(repr, slow))})"
    behind = [purchase_id for (purchase_id,) in stage.site.rows(TICKETS, purchases)]
    over = f"SELECT count(*) FROM purchases WHERE hold_expire_time < now() - interval '{HOLD_SECONDS} seconds'"
    eventually(lambda: stage.site.rows(TICKETS, over)[0][0] >= MANY)
    bought = stage.buyer.buy(event, "card", 1, payment_method_id=SECURE)
    assert bought is not None
    stage.buyer.finish(bought.purchase_id)
    stage.expect("held purchases", ignore=behind)
    stage.settle()


def worse_terms(stage: Stage) -> None:
    """Lower the refund of an event after a purchase, and cancel the ticket."""
    event = stage.event()
    [ticket] = stage.sell(event, 1)
    stage.organizer.change_terms(event, stage.random.choice([50, 20]))
    stage.holder.cancel(ticket)
    stage.settle()


def refund_that_fails_later(stage: Stage) -> None:
    """Let a bank return a refund that had succeeded."""
    tickets = stage.sell(stage.event(), stage.random.choice([1, 2]))
    stage.holder.cancel(tickets[0])
    eventually(lambda: stage.site.rows(TICKETS, REFUNDED), [(1,)])
    stage.site.stripe.settle_refund(stage.site.stripe.refunds[0]["id"], "failed")
    stage.settle()


def returned_part_of_a_refund(stage: Stage) -> None:
    """Refund a part in the provider's dashboard, let the service refund the rest, and let the bank return the part."""
    stripe = stage.site.stripe
    [ticket] = stage.sell(stage.event(), 1)
    stripe.fails["refund"] = 500
    stage.holder.cancel(ticket)
    [payment_id] = stripe.intents
    part = stripe.refund_in_dashboard(payment_id, stage.random.choice([500, 1_000, 2_000]))
    stage.settle()
    stripe.settle_refund(part["id"], "failed")
    # Until the service looks at the provider, no work is open.
    stage.check(money)
    stage.settle()


def restore_before_a_refund(stage: Stage) -> None:
    """Restore both databases to a moment before a refund that the provider has made."""
    ticket = _bought_in_two(stage)
    stage.site.stripe.fails["refund"] = 500
    stage.holder.cancel(ticket)
    pending = "SELECT count(*) FROM refund_orders WHERE status <> 'DONE'"
    eventually(lambda: stage.site.rows(TICKETS, pending), [(1,)])
    backup = stage.back_up(TICKETS, SCANS)
    stage.site.stripe.fails.clear()
    eventually(lambda: stage.site.rows(TICKETS, REFUNDED), [(1,)])
    # The provider has forgotten the idempotency keys, as a day later.
    stage.restore(backup, stage.site.stripe.forget_keys)
    stage.settle()


def restore_beside_a_slow_refund(stage: Stage) -> None:
    """Restore both databases to a moment before cancellations whose refunds the bank still processes."""
    # After the restore, the service may see a refund in time; it does not see all of them.
    tickets = [_bought_in_two(stage) for _ in range(5)]
    backup = stage.back_up(TICKETS, SCANS)
    stage.site.stripe.refund_status = "pending"
    for ticket in tickets:
        # This cancellation is lost in the restore, so it stands in no record.
        stage.shop.call("CancelTicket", tickets_pb.CancelTicketRequest(ticket_id=ticket.ticket_id))
    eventually(lambda: len(stage.site.stripe.refunds), len(tickets))
    stage.restore(backup, stage.site.stripe.forget_keys)
    for ticket in tickets:
        stage.holder.cancel(ticket)
    # The banks go on only after the service has tried to refund.
    tried = "SELECT count(*) FROM refund_orders WHERE attempts > 0 OR status <> 'PENDING'"
    eventually(lambda: stage.site.rows(TICKETS, tried), [(len(tickets),)])
    stage.settle()


def _bought_in_two(stage: Stage) -> SoldTicket:
    """Sell two tickets by one charge, so that the provider would refund the price of one ticket twice."""
    ticket, _ = stage.sell(stage.event(), 2)
    stage.await_replica()
    return ticket


def payment_after_a_recovery(stage: Stage) -> None:
    """Restore a purchase whose payment is lost, and let the shop report the payment again."""
    held = stage.buyer.buy(stage.event(), "held", 1)
    assert held is not None
    backup = stage.back_up(TICKETS)
    payment_id = f"payment-{stage.random.randrange(10**6)}"
    stage.buyer.confirm(held, payment_id)
    stage.await_replica()
    stage.restore(backup, lambda: stage.site.command(TICKETS, "recover", "--accept"))
    stage.buyer.confirm(held, payment_id)
    stage.settle()


def price_in_other_units(stage: Stage) -> None:
    """Sell a ticket in a currency that the provider counts in other units than ISO 4217."""
    event = stage.organizer.create(PRICE * stage.random.choice([1, 2, 3]), 100, currency="ISK")
    stage.organizer.open_sale(event)
    stage.sell(event, 1)
    stage.settle()


def one_payment_for_two_events(stage: Stage) -> None:
    """Report one payment for purchases of two events at a time."""
    events = [stage.event(), stage.event()]
    held = [stage.buyer.buy(event, "held", 1) for event in events]
    payment_id = f"payment-{stage.random.randrange(10**6)}"
    reports = [Thread(target=stage.buyer.confirm, args=(one, payment_id)) for one in held]
    with (
        stage.locked_event(TICKETS, events[0]),
        stage.locked_event(TICKETS, events[1]),
    ):
        for report in reports:
            report.start()
        stage.await_waiting(TICKETS, 2)
    for report in reports:
        report.join()
    stage.settle()
