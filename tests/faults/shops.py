"""The clients that sell: buyers in all ways of payment, holders, an organizer and a cashier."""

import random
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.faults.callers import Caller, GaveUpError, RefusedError
from tests.faults.site import HOLD_SECONDS
from tests.faults.world import PRICE, SoldEvent, SoldTicket, World
from tests.selling.shop import money
from tests.stand_ins.stripe import CARD, DECLINED, PROCESSING, SECURE, StripeStandIn
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, purchase_pb2, refund_pb2
from ticketing.tickets.v1 import event_service_pb2 as events_pb
from ticketing.tickets.v1 import purchase_service_pb2 as purchases_pb
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

COMPLETED, HELD = purchase_pb2.PURCHASE_STATUS_COMPLETED, purchase_pb2.PURCHASE_STATUS_HELD
STANDARD: Final = event_pb2.TICKET_TYPE_STANDARD
# The pause between two looks for a purchase that is being made.
FIND_SECONDS: Final = 0.02
# The shares of the price that the organizer's terms refund, in percent.
PERCENTS: Final = (100, 80, 50, 20)


class Buyer:
    """A program that buys for one customer after the other."""

    def __init__(self, shop: Caller, world: World, stripe: StripeStandIn) -> None:
        self._shop, self._world, self._stripe = shop, world, stripe
        self._random = shop.random

    def work(self) -> None:
        """Buy once."""
        event = self._random.choice(self._world.events)
        if not event.price:
            self.buy(event, "free")
            return
        ways = {
            self._pay_first: 4,
            self._pay_held: 3,
            self._pay_twice: 1,
            self._leave: 2,
            self._pay_by_card: 5,
            self._confirm_at_the_bank: 2,
            self._regret: 2,
        }
        [way] = self._random.choices(list(ways), list(ways.values()))
        way(event)

    def _pay_first(self, event: SoldEvent) -> None:
        quantity = self._quantity()
        payment = {
            "external_payment_id": str(uuid.uuid4()),
            "expected_total": money(event.price * quantity),
        }
        self.buy(event, "external", quantity, **payment)

    def _pay_held(self, event: SoldEvent) -> None:
        held = self.buy(event, "held")
        if held is not None and held.status == HELD:
            # Some buyers pay in time, and others too late.
            self._pause(self._random.choice([0.0, 0.0, 0.5, HOLD_SECONDS * 1.5]))
            self.confirm(held, str(uuid.uuid4()))

    def _pay_twice(self, event: SoldEvent) -> None:
        held = self.buy(event, "held")
        if held is not None and held.status == HELD:
            self.confirm(held, str(uuid.uuid4()))
            self.confirm(held, str(uuid.uuid4()))

    def _leave(self, event: SoldEvent) -> None:
        held = self.buy(event, "held")
        if held is not None and self._random.random() < 0.5:
            self.release(held)

    def _pay_by_card(self, event: SoldEvent) -> None:
        method = self._random.choice([CARD, CARD, CARD, DECLINED, PROCESSING])
        bought = self.buy(event, "card", payment_method_id=method)
        if bought is not None and bought.status == HELD:
            if method == PROCESSING:
                self.finish(bought.purchase_id)
            self._follow(bought)

    def _regret(self, event: SoldEvent) -> None:
        """Release a purchase in another window while its card is about to be charged."""
        user_id = self._world.new_user()
        paying = threading.Thread(
            target=self.buy, args=(event, "card"), kwargs={"payment_method_id": CARD, "user_id": user_id}
        )
        paying.start()
        held = self._find_held(event, user_id, paying)
        if held is not None:
            self.release(held)
        paying.join()

    def _find_held(self, event: SoldEvent, user_id: str, paying: threading.Thread) -> purchase_pb2.Purchase | None:
        request = purchases_pb.ListPurchasesRequest(event_id=event.event_id, user_id=user_id)
        while paying.is_alive():
            with suppress(RefusedError, GaveUpError):
                found = self._shop.call("ListPurchases", request, give_up=1.0).purchases
                if found:
                    return found[0] if found[0].status == HELD else None
            paying.join(FIND_SECONDS)
        return None

    def _confirm_at_the_bank(self, event: SoldEvent) -> None:
        bought = self.buy(event, "card", payment_method_id=SECURE)
        if bought is None or bought.status != HELD:
            return
        end = self._random.choice(["finish", "finish", "reject", "leave", "release", "late"])
        if end == "release":
            self.release(bought)
            return
        if end == "late":
            self._pause(HOLD_SECONDS * 1.2)
        if end != "leave":
            self.finish(bought.purchase_id, succeeds=end != "reject")
        self._follow(bought)

    def buy(self, event: SoldEvent, how: str, quantity: int = 0, **payment: Any) -> purchase_pb2.Purchase | None:
        """Buy tickets, and record how they are paid; `payment` are fields of the request."""
        quantity = quantity or self._quantity()
        user_id = payment.pop("user_id", "") or self._world.new_user()
        request = purchases_pb.PurchaseTicketsRequest(
            request_id=str(uuid.uuid4()),
            event_id=event.event_id,
            items=[purchase_pb2.PurchaseItem(ticket_type=STANDARD, quantity=quantity)],
            user_id=user_id,
            **payment,
        )
        facts: dict[str, Any] = {"event_id": event.event_id, "user_id": user_id, "quantity": quantity, "how": how}
        facts["payment_id"] = payment.get("external_payment_id", "")
        response = self._shop.operate("buy", "PurchaseTickets", request, answer=_purchase_facts, **facts)
        if response is None:
            return None
        if self._random.random() < 0.1:
            # A repetition after the answer, as by a client that restarted.
            self._shop.operate("buy again", "PurchaseTickets", request, answer=_purchase_facts, **facts)
        return self._sold(response.purchase)

    def confirm(self, held: purchase_pb2.Purchase, payment_id: str) -> None:
        """Report a payment of the shop's own system."""
        request = purchases_pb.ConfirmPurchaseRequest(
            purchase_id=held.purchase_id, external_payment_id=payment_id, paid=held.total
        )
        facts = {"purchase_id": held.purchase_id, "payment_id": payment_id, "amount": held.total.minor_units}
        # The shop has captured this payment and never forgets to report it.
        response = self._shop.operate(
            "confirm", "ConfirmPurchase", request, answer=_purchase_facts, give_up=0.0, **facts
        )
        if response is not None:
            self._sold(response.purchase)

    def release(self, held: purchase_pb2.Purchase) -> None:
        """Release a purchase."""
        request = purchases_pb.ReleasePurchaseRequest(purchase_id=held.purchase_id)
        self._shop.operate("release", "ReleasePurchase", request, answer=_purchase_facts, purchase_id=held.purchase_id)

    def _follow(self, bought: purchase_pb2.Purchase) -> None:
        """Ask the service about the charge until it has ended, or the run."""
        request = purchases_pb.ConfirmPurchaseRequest(purchase_id=bought.purchase_id)
        until = time.monotonic() + 2 * HOLD_SECONDS
        while time.monotonic() < until and self._shop.clock.is_running():
            response = self._shop.operate(
                "confirm charge", "ConfirmPurchase", request, answer=_purchase_facts, purchase_id=bought.purchase_id
            )
            if response is None:
                return
            if response.purchase.status != HELD:
                self._sold(response.purchase)
                return
            self._pause(0.5)

    def finish(self, purchase_id: str, *, succeeds: bool = True) -> None:
        """Confirm or reject the charge of a purchase at the bank, if it has reached the bank."""
        for payment_id, intent in list(self._stripe.intents.items()):
            if intent["metadata"].get("purchase_id") == purchase_id and intent["status"] in {
                "requires_action",
                "processing",
            }:
                self._stripe.finish(payment_id, succeeds=succeeds)

    def _sold(self, purchase: purchase_pb2.Purchase) -> purchase_pb2.Purchase:
        if purchase.status == COMPLETED:
            self._world.add(
                [
                    SoldTicket(
                        one.ticket_id,
                        one.event_id,
                        one.purchase_id,
                        purchase.user_id,
                        one.price_paid.minor_units,
                        [(one.issue, one.token)],
                    )
                    for one in purchase.tickets
                ]
            )
        return purchase

    def _quantity(self) -> int:
        return self._random.choice([1, 1, 1, 2, 3])

    def _pause(self, seconds: float) -> None:
        self._shop.clock.stopped.wait(seconds)


class Holder:
    """A program that acts for the holders of tickets: cancellations, refunds, reissues, transfers, reads, drawings."""

    def __init__(self, shop: Caller, world: World) -> None:
        self._shop, self._world = shop, world
        self._random = shop.random

    def work(self) -> None:
        """Act on one ticket."""
        ticket = self._world.take(self._random)
        if ticket is None:
            self._shop.clock.stopped.wait(0.1)
            return
        ways = {self.cancel: 5, self._reissue: 2, self._transfer: 1, self._refund: 1, self._read: 2, self._draw: 1}
        [way] = self._random.choices(list(ways), list(ways.values()))
        try:
            way(ticket)
        finally:
            self._world.put_back(ticket)

    def cancel(self, ticket: SoldTicket) -> None:
        """Cancel a ticket."""
        request = tickets_pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
        self._shop.operate(
            "cancel",
            "CancelTicket",
            request,
            answer=_cancellation_facts,
            ticket_id=ticket.ticket_id,
            price=ticket.price,
        )

    def _reissue(self, ticket: SoldTicket) -> None:
        request = tickets_pb.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=str(uuid.uuid4()))
        self._renew("reissue", "ReissueTicket", request, ticket)

    def _transfer(self, ticket: SoldTicket) -> None:
        user_id = self._world.new_user()
        request = tickets_pb.TransferTicketRequest(
            ticket_id=ticket.ticket_id, request_id=str(uuid.uuid4()), user_id=user_id
        )
        self._renew("transfer", "TransferTicket", request, ticket)

    def _renew(self, kind: str, rpc: str, request: Any, ticket: SoldTicket) -> None:
        response = self._shop.operate(
            kind,
            rpc,
            request,
            answer=lambda it: {"issue": it.ticket.issue, "token": it.ticket.token},
            ticket_id=ticket.ticket_id,
        )
        if response is not None and response.ticket.token:
            ticket.tokens.append((response.ticket.issue, response.ticket.token))

    def _refund(self, ticket: SoldTicket) -> None:
        if not ticket.price:
            return
        amount = self._random.choice([100, 500])
        request = tickets_pb.RefundTicketRequest(
            request_id=str(uuid.uuid4()), ticket_id=ticket.ticket_id, amount=money(amount)
        )
        self._shop.operate("refund", "RefundTicket", request, ticket_id=ticket.ticket_id, amount=amount)

    def _read(self, ticket: SoldTicket) -> None:
        request = tickets_pb.GetTicketRequest(ticket_id=ticket.ticket_id)
        self._shop.operate(
            "read", "GetTicket", request, answer=lambda it: {"status": it.ticket.status}, ticket_id=ticket.ticket_id
        )

    def _draw(self, ticket: SoldTicket) -> None:
        request = tickets_pb.RenderTicketRequest(
            ticket_id=ticket.ticket_id, format=tickets_pb.TicketFormat.TICKET_FORMAT_PNG
        )
        self._shop.operate(
            "draw", "RenderTicket", request, answer=lambda it: {"bytes": len(it.content)}, ticket_id=ticket.ticket_id
        )


class Organizer:
    """The organizer: publishes the events, changes their terms, cancels one of them, and repeats failed refunds."""

    def __init__(self, caller: Caller, world: World) -> None:
        self._caller, self._world = caller, world
        self._random = caller.random
        self._works = 0

    def publish(self, price: int, capacity: int, *, is_doomed: bool = False) -> SoldEvent:
        """Publish an event whose doors are open."""
        sold = self.create(price, capacity, is_doomed=is_doomed)
        self.open_sale(sold)
        return sold

    def create(self, price: int, capacity: int, *, is_doomed: bool = False, currency: str = "EUR") -> SoldEvent:
        """Create the draft of an event whose doors are open."""
        now = datetime.now(UTC)
        event = event_pb2.Event(
            name="Concert",
            event_type=event_pb2.EVENT_TYPE_OTHER,
            doors_open_time=timestamp(now - timedelta(hours=3)),
            start_time=timestamp(now + timedelta(hours=6)),
            end_time=timestamp(now + timedelta(hours=9)),
            ticket_price=money(price, currency),
            refund_policy=_policy(PERCENTS[0]),
            max_participants=capacity,
        )
        create = events_pb.CreateEventRequest(request_id=str(uuid.uuid4()), event=event)
        event_id = self._caller.call("CreateEvent", create).event.event_id
        sold = SoldEvent(event_id, price, capacity, is_doomed)
        self._world.events.append(sold)
        return sold

    def open_sale(self, event: SoldEvent) -> None:
        """Publish a draft."""
        number = self._caller.record.begin("terms", event_id=event.event_id, percent=PERCENTS[0])
        self._caller.call("PublishEvent", events_pb.PublishEventRequest(event_id=event.event_id))
        self._caller.record.end(number)

    def work(self) -> None:
        """Do one thing."""
        self._works += 1
        if self._works % 3 == 0:
            self.retry_refunds()
        elif self._random.random() < 0.6:
            self.change_terms(
                self._random.choice([one for one in self._world.events if one.price]), self._random.choice(PERCENTS)
            )
        else:
            self._rename()
        self._caller.clock.stopped.wait(self._random.uniform(0.2, 1.0))

    def cancel_event(self) -> None:
        """Cancel the doomed event."""
        [event] = [one for one in self._world.events if one.is_doomed]
        request = events_pb.CancelEventRequest(event_id=event.event_id)
        self._caller.operate("cancel event", "CancelEvent", request, give_up=0.0, event_id=event.event_id)

    def change_terms(self, event: SoldEvent, percent: int) -> None:
        """Change the share of the price that a cancellation refunds."""
        changed = event_pb2.Event(event_id=event.event_id, refund_policy=_policy(percent))
        request = events_pb.UpdateEventRequest(event=changed)
        request.update_mask.paths.append("refund_policy")
        self._caller.operate("terms", "UpdateEvent", request, event_id=event.event_id, percent=percent)

    def _rename(self) -> None:
        event = self._random.choice(self._world.events)
        name = f"Concert {self._random.randrange(10**6)}"
        request = events_pb.UpdateEventRequest(event=event_pb2.Event(event_id=event.event_id, name=name))
        request.update_mask.paths.append("name")
        self._caller.operate("rename", "UpdateEvent", request, event_id=event.event_id, name=name)

    def retry_refunds(self) -> None:
        """Repeat the refunds that the payment provider refused."""
        for refund in owed_refunds(self._caller, refund_pb2.OWED_REFUND_STATUS_REFUSED):
            if refund.cancellation_id:
                request = tickets_pb.RetryRefundRequest(cancellation_id=refund.cancellation_id)
                self._caller.operate("retry refund", "RetryRefund", request, cancellation_id=refund.cancellation_id)


class Cashier:
    """The shop's own payment system, which refunds what the ticket service reports as owed."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        # By cause, so that a repetition after a lost answer refunds nothing more.
        self._made: dict[str, str] = {}

    def work(self) -> None:
        """Refund everything that is owed by the shop."""
        for refund in owed_refunds(self._caller):
            if refund.provider == "external":
                self._pay_back(refund)
        self._caller.clock.stopped.wait(1.0)

    def _pay_back(self, refund: refund_pb2.OwedRefund) -> None:
        request = tickets_pb.ConfirmRefundRequest()
        if refund.cancellation_id:
            request.cancellation_id = refund.cancellation_id
        elif refund.ticket_refund_id:
            request.ticket_refund_id = refund.ticket_refund_id
        else:
            request.purchase_id = refund.purchase_id
        cause = refund.cancellation_id or refund.ticket_refund_id or refund.payment_id
        if cause not in self._made:
            self._made[cause] = str(uuid.uuid4())
            number = self._caller.record.begin(
                "paid back", cause=cause, purchase_id=refund.purchase_id, amount=refund.amount.minor_units
            )
            self._caller.record.end(number)
        request.refund_id = self._made[cause]
        self._caller.operate("confirm refund", "ConfirmRefund", request, cause=cause)


def owed_refunds(caller: Caller, status: int = 0) -> list[refund_pb2.OwedRefund]:
    """Return the owed refunds; none if the service does not answer."""
    request = tickets_pb.ListOwedRefundsRequest(page_size=100, status=status)  # type: ignore[arg-type]  # an enum
    try:
        return list(caller.call("ListOwedRefunds", request).refunds)
    except (RefusedError, GaveUpError):
        return []


def random_of(seed: int, name: str) -> random.Random:
    """Return the random choices of one client of a run."""
    return random.Random(f"{seed} {name}")


def _policy(percent: int) -> event_pb2.RefundPolicy:
    return event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=percent)])


def _purchase_facts(response: Any) -> dict[str, Any]:
    purchase = response.purchase
    return {
        "purchase_id": purchase.purchase_id,
        "event_id": purchase.event_id,
        "status": purchase_pb2.PurchaseStatus.Name(purchase.status).removeprefix("PURCHASE_STATUS_"),
        "total": purchase.total.minor_units,
        "quantity": sum(item.quantity for item in purchase.items),
        "payment_id": purchase.payment.payment_id,
        "tickets": [one.ticket_id for one in purchase.tickets],
        "user_id": purchase.user_id,
    }


def _cancellation_facts(response: Any) -> dict[str, Any]:
    made = response.cancellation
    return {"cancellation_id": made.cancellation_id, "status": made.status, "refund": made.refund_amount.minor_units}


__all__ = ["PRICE", "Buyer", "Cashier", "Holder", "Organizer", "owed_refunds", "random_of"]
