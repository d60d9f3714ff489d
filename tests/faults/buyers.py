"""The buyers, in all ways of payment."""

import threading
import time
import uuid
from contextlib import suppress
from typing import Any, Final

from tests.faults.callers import Caller, GaveUpError, RefusedError
from tests.faults.site import HOLD_SECONDS
from tests.faults.world import SoldEvent, SoldTicket, World
from tests.selling.shop import money
from tests.stand_ins.stripe import CARD, DECLINED, PROCESSING, SECURE, StripeStandIn
from ticketing.tickets.v1 import event_pb2, purchase_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchases_pb

COMPLETED, HELD = purchase_pb2.PURCHASE_STATUS_COMPLETED, purchase_pb2.PURCHASE_STATUS_HELD
STANDARD: Final = event_pb2.TICKET_TYPE_STANDARD
# The pause between two looks for a purchase that is being made.
FIND_SECONDS: Final = 0.02


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
