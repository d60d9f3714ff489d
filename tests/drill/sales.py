"""What buyers and shops do in a history: they buy, hold places, and pay or release them."""

import contextlib
import uuid
from functools import partial
from typing import Any

import grpc

from tests.drill.callers import Callers, PatientClient
from tests.drill.log import Kind
from tests.drill.site import SECONDS
from tests.environment.waiting import eventually
from tests.selling.shop import STANDARD, money
from tests.stand_ins.stripe import CARD, SECURE
from ticketing.tickets.v1 import purchase_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing


class Sales:
    """The operations on purchases; each returns False where it has no subject."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def buy(self) -> bool | None:
        """Buy tickets: free ones, ones paid at the shop, or by card."""
        if (event_id := self._callers.choose(self._callers.events("PUBLISHED"))) is None:
            return False
        quantity, price = self._callers.random.randint(1, 3), self._callers.world.events[event_id].price
        if not self.has_places(event_id, quantity):
            return False
        how = "free" if not price else self._callers.random.choice(["external", "card"])
        held = [
            one for one in self._callers.world.purchases.values() if one.status == "HELD" and one.event_id == event_id
        ]
        if how == "card" and held:
            # The buyer is still asked by the bank for an earlier purchase.
            how = "external"
        self.buy_at(event_id, quantity, how)
        return None

    def buy_at(self, event_id: str, quantity: int, how: str) -> None:
        """Buy tickets of an event; `how` is "free", "external" or "card"."""
        price = self._callers.world.events[event_id].price
        if how == "external":
            paid = {"external_payment_id": str(uuid.uuid4()), "expected_total": money(price * quantity)}
            purchase = self._purchase(self._callers.shop, event_id, quantity, user_id="alice", **paid)
        elif how == "card":
            purchase = self._buy_by_card(event_id, quantity)
        else:
            purchase = self._purchase(self._callers.alice, event_id, quantity)
        self._completed(purchase, how)

    def hold(self) -> bool | None:
        """Reserve places whose payment is open: the buyer's bank asks, or the shop waits."""
        events = [
            event_id for event_id in self._callers.events("PUBLISHED") if self._callers.world.events[event_id].price
        ]
        if (event_id := self._callers.choose(events)) is None:
            return False
        quantity, how = self._callers.random.randint(1, 3), self._callers.random.choice(["external", "card"])
        if not self.has_places(event_id, quantity):
            return False
        more = {"payment_method_id": SECURE} if how == "card" else {}
        purchase = self._purchase(self._callers.alice, event_id, quantity, **more)
        self._callers.log.add(Kind.HELD, **self._facts(purchase, how))
        return None

    def has_places(self, event_id: str, quantity: int) -> bool:
        """Return whether the log leaves places of an event."""
        return self.sold(event_id) + quantity <= self._callers.world.events[event_id].capacity

    def sold(self, event_id: str) -> int:
        """Return the number of places that are sold or held."""
        world = self._callers.world
        held = sum(
            one.quantity for one in world.purchases.values() if one.event_id == event_id and one.status == "HELD"
        )
        return held + sum(1 for one in world.tickets.values() if one.event_id == event_id and not one.cancellation_id)

    def end_hold(self) -> bool | None:
        """Pay or release a held purchase."""
        held = [one for one in self._callers.world.purchases.values() if one.status == "HELD"]
        held = [one for one in held if self._callers.world.events[one.event_id].status == "PUBLISHED"]
        if not held:
            return False
        chosen = self._callers.random.choice(held)
        if self._callers.random.random() < 0.3:
            release = purchasing.ReleasePurchaseRequest(purchase_id=chosen.purchase_id)
            self._callers.alice.ask(self._callers.alice.purchases.ReleasePurchase, release)
            self._callers.log.add(Kind.RELEASED, purchase_id=chosen.purchase_id)
            return None
        request = purchasing.ConfirmPurchaseRequest(purchase_id=chosen.purchase_id)
        read = purchasing.GetPurchaseRequest(purchase_id=chosen.purchase_id)
        if chosen.how == "external":
            request.external_payment_id = str(uuid.uuid4())
            request.paid.CopyFrom(money(chosen.total))
            purchase = self._callers.shop.ask(self._callers.shop.purchases.ConfirmPurchase, request).purchase
        else:
            self._callers.site.stripe.finish(self.payment_of(chosen.purchase_id))
            purchase = self._callers.alice.ask(self._callers.alice.purchases.GetPurchase, read).purchase
        self._completed(purchase, chosen.how)
        return None

    def payment_of(self, purchase_id: str) -> str:
        """Return the payment of a purchase at the provider."""
        intents = self._callers.site.stripe.intents.items()
        [payment_id] = [key for key, one in intents if one["metadata"].get("purchase_id") == purchase_id]
        return payment_id

    @staticmethod
    def _purchase(caller: PatientClient, event_id: str, quantity: int, **fields: Any) -> purchase_pb2.Purchase:
        request = purchase_request(event_id, quantity, **fields)
        bought: purchase_pb2.Purchase = caller.ask(caller.purchases.PurchaseTickets, request).purchase
        return bought

    def _buy_by_card(self, event_id: str, quantity: int) -> purchase_pb2.Purchase:
        buy = partial(self._purchase, self._callers.alice, event_id, quantity, payment_method_id=CARD)
        bought = buy()
        if bought.purchase_id in self._callers.world.purchases:
            # A restore has brought a hold back whose charge was withdrawn. It ends, and the buyer buys anew.
            eventually(partial(self._read_ended, bought.purchase_id), seconds=SECONDS)
            bought = buy()
        return bought

    def _read_ended(self, purchase_id: str) -> bool:
        alice = self._callers.alice
        with contextlib.suppress(grpc.RpcError):
            alice.ask(alice.purchases.ConfirmPurchase, purchasing.ConfirmPurchaseRequest(purchase_id=purchase_id))
        read = alice.ask(alice.purchases.GetPurchase, purchasing.GetPurchaseRequest(purchase_id=purchase_id)).purchase
        return bool(read.status != purchase_pb2.PURCHASE_STATUS_HELD)

    def _completed(self, purchase: purchase_pb2.Purchase, how: str) -> None:
        # A charge that a sweeper just settles is confirmed once more.
        read = eventually(lambda: self._read_completed(purchase.purchase_id, how), seconds=SECONDS)
        assert read is not None
        tickets = [(one.ticket_id, one.token, one.code) for one in read.tickets]
        self._callers.log.add(Kind.COMPLETED, **self._facts(read, how), tickets=tickets)

    def _read_completed(self, purchase_id: str, how: str) -> purchase_pb2.Purchase | None:
        if how == "card":
            confirmation = purchasing.ConfirmPurchaseRequest(purchase_id=purchase_id)
            self._callers.alice.ask(self._callers.alice.purchases.ConfirmPurchase, confirmation)
        request = purchasing.GetPurchaseRequest(purchase_id=purchase_id)
        read: purchase_pb2.Purchase = self._callers.shop.ask(self._callers.shop.purchases.GetPurchase, request).purchase
        return read if read.status == purchase_pb2.PURCHASE_STATUS_COMPLETED else None

    @staticmethod
    def _facts(purchase: purchase_pb2.Purchase, how: str) -> dict[str, Any]:
        return {
            "purchase_id": purchase.purchase_id,
            "event_id": purchase.event_id,
            "how": how,
            "quantity": sum(item.quantity for item in purchase.items),
            "total": purchase.total.minor_units,
        }


def purchase_request(event_id: str, quantity: int, **fields: Any) -> purchasing.PurchaseTicketsRequest:
    """Return a new request to buy tickets."""
    items = [purchase_pb2.PurchaseItem(ticket_type=STANDARD, quantity=quantity)]
    return purchasing.PurchaseTicketsRequest(request_id=str(uuid.uuid4()), event_id=event_id, items=items, **fields)
