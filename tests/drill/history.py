"""A seeded random history: what shops, organizers, operators and gates do in one evening, and the log of it."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc

from dev.clients import ApiClient
from tests.drill.log import Kind, Log, TicketState, World
from tests.drill.site import SCANS, SECONDS, TICKETS, Lane, Site
from tests.environment.waiting import eventually
from tests.selling.shop import STANDARD, money
from tests.stand_ins.stripe import CARD, SECURE
from ticketing.admission.tokens import Token, read_token
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import device_service_pb2 as devices_pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

PRICE: Final = 2_500
CAPACITY: Final = 24
# After these errors the call may have been done.
UNKNOWN: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}


class PatientClient:
    """A client that repeats a call until it is acknowledged or refused: nobody knows the outcome of any other call."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.events, self.purchases = client.events, client.purchases
        self.tickets, self.scans = client.tickets, client.scans

    def ask(self, rpc: Any, request: Any) -> Any:
        """Make one call."""
        answers: list[Any] = []

        def is_answered() -> bool:
            try:
                answers.append(self._client.ask(rpc, request))
            except grpc.RpcError as error:
                if code_of(error) not in UNKNOWN:
                    raise
            return bool(answers)

        eventually(is_answered, seconds=SECONDS)
        return answers[0]


class History:
    """The callers of a site. Each operation adds what was acknowledged to the log."""

    def __init__(self, site: Site, random: Random, folder: Path) -> None:
        self.site, self.random, self.folder = site, random, folder
        self.log = Log()
        self.lanes: list[Lane] = []
        self.operations = 0
        self.connect()

    def connect(self) -> None:
        """Connect the callers, also after a restart of the services."""
        self.organizer, self.shop, self.alice = (
            PatientClient(self.site.caller(*by))
            for by in (("organizer", "olga"), ("service", "shop"), ("user", "alice"))
        )
        self.devices = DeviceServiceStub(self.site.channel(SCANS))

    @property
    def world(self) -> World:
        """Return the state that the log adds up to."""
        return self.log.world()

    def prepare(self) -> None:
        """Publish two events with two gates each, and sell the first tickets."""
        self.log.add(Kind.KEY_ADDED, key_id=1)
        for price in (0, PRICE):
            self.new_event(price)
            self.publish()
        self.site.settle()
        self.log.add(Kind.SETTLED)
        for _ in range(2):
            for event_id in self._events("PUBLISHED"):
                self.enroll(event_id)
        for _ in range(3):
            self.buy()
        self.settle()

    def operate(self) -> None:
        """Do one random operation, another one where the chosen one has no subject."""
        choices = {
            self.buy: 8,
            self.hold: 3,
            self.end_hold: 3,
            self.scan: 14,
            self.cut: 3,
            self.plug_in: 3,
            self.cancel: 5,
            self.reissue: 4,
            self.block: 3,
            self.unblock: 2,
            self.change_event: 2,
            self.new_event: 1,
            self.publish: 2,
            self.cancel_event: 0.3,
            self.add_key: 1,
            self.retire_key: 1,
            self.enroll: 1,
            self.revoke: 1,
            self.settle: 2,
        }
        while True:
            [operation] = self.random.choices(list(choices), list(choices.values()))
            if operation() is not False:
                self.operations += 1
                return

    def settle(self) -> None:
        """Wait until both services have everything of each other."""
        self.site.settle()
        self.log.add(Kind.SETTLED)

    def new_event(self, price: int | None = None) -> None:
        """Create a draft."""
        now = datetime.now(UTC)
        price = self.random.choice([0, PRICE]) if price is None else price
        event = event_pb2.Event(
            name="Concert",
            event_type=event_pb2.EVENT_TYPE_OTHER,
            doors_open_time=timestamp(now - timedelta(minutes=1)),
            start_time=timestamp(now + timedelta(hours=1)),
            end_time=timestamp(now + timedelta(hours=3)),
            ticket_price=money(price),
            max_participants=CAPACITY,
            refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)]),
        )
        request = event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=event)
        created = self.organizer.ask(self.organizer.events.CreateEvent, request).event
        self.log.add(Kind.EVENT_CREATED, event_id=created.event_id, price=price, capacity=CAPACITY)

    def publish(self) -> bool | None:
        """Publish a draft."""
        if (event_id := self._choose(self._events("DRAFT"))) is None:
            return False
        request = event_service_pb2.PublishEventRequest(event_id=event_id)
        self.organizer.ask(self.organizer.events.PublishEvent, request)
        self.log.add(Kind.EVENT_PUBLISHED, event_id=event_id)
        return None

    def change_event(self) -> bool | None:
        """Change a field that gates have, or one that they do not have."""
        if (event_id := self._choose(self._events("PUBLISHED"))) is None:
            return False
        if self.random.random() < 0.5:
            name = f"Concert {self.random.randrange(10**6)}"
            self._update(event_pb2.Event(event_id=event_id, name=name), "name")
            self.log.add(Kind.EVENT_RENAMED, event_id=event_id, name=name)
        else:
            capacity = self.world.events[event_id].capacity + 1
            self._update(event_pb2.Event(event_id=event_id, max_participants=capacity), "max_participants")
            self.log.add(Kind.CAPACITY_CHANGED, event_id=event_id, capacity=capacity)
        return None

    def cancel_event(self) -> bool | None:
        """Cancel an event, unless it is the last one."""
        events = self._events("PUBLISHED")
        if len(events) < 3:
            return False
        event_id = self.random.choice(events)
        self.organizer.ask(self.organizer.events.CancelEvent, event_service_pb2.CancelEventRequest(event_id=event_id))
        self.log.add(Kind.EVENT_CANCELLED, event_id=event_id)
        self.site.settle()
        listed = self.site.rows(
            TICKETS,
            "SELECT ticket_id::text, cancellation_id::text, refund_amount FROM cancellations"
            f" WHERE event_id = '{event_id}' AND status = 'DONE'",
        )
        for ticket_id, cancellation_id, refund in listed:
            if not self.world.tickets[ticket_id].cancellation_id:
                self.log.add(Kind.CANCELLED, ticket_id=ticket_id, cancellation_id=cancellation_id, refund=refund)
        self.log.add(Kind.SETTLED)
        return None

    def buy(self) -> bool | None:
        """Buy tickets: free ones, ones paid at the shop, or by card."""
        if (event_id := self._choose(self._events("PUBLISHED"))) is None:
            return False
        quantity, price = self.random.randint(1, 3), self.world.events[event_id].price
        if not self.has_places(event_id, quantity):
            return False
        how = "free" if not price else self.random.choice(["external", "card"])
        if how == "external":
            paid = {"external_payment_id": str(uuid.uuid4()), "expected_total": money(price * quantity)}
            purchase = self._purchase(self.shop, event_id, quantity, user_id="alice", **paid)
        elif how == "card":
            purchase = self._purchase(self.alice, event_id, quantity, payment_method_id=CARD)
        else:
            purchase = self._purchase(self.alice, event_id, quantity)
        self._completed(purchase, how)
        return None

    def hold(self) -> bool | None:
        """Reserve places whose payment is open: the buyer's bank asks, or the shop waits."""
        events = [event_id for event_id in self._events("PUBLISHED") if self.world.events[event_id].price]
        if (event_id := self._choose(events)) is None:
            return False
        quantity, how = self.random.randint(1, 3), self.random.choice(["external", "card"])
        if not self.has_places(event_id, quantity):
            return False
        more = {"payment_method_id": SECURE} if how == "card" else {}
        purchase = self._purchase(self.alice, event_id, quantity, **more)
        self.log.add(Kind.HELD, **self._facts(purchase, how))
        return None

    def has_places(self, event_id: str, quantity: int) -> bool:
        """Return whether the log leaves places of an event."""
        return self.sold(event_id) + quantity <= self.world.events[event_id].capacity

    def sold(self, event_id: str) -> int:
        """Return the number of places that are sold or held."""
        world = self.world
        held = sum(
            one.quantity for one in world.purchases.values() if one.event_id == event_id and one.status == "HELD"
        )
        return held + sum(1 for one in world.tickets.values() if one.event_id == event_id and not one.cancellation_id)

    def end_hold(self) -> bool | None:
        """Pay or release a held purchase."""
        held = [one for one in self.world.purchases.values() if one.status == "HELD"]
        held = [one for one in held if self.world.events[one.event_id].status == "PUBLISHED"]
        if not held:
            return False
        chosen = self.random.choice(held)
        if self.random.random() < 0.3:
            release = purchasing.ReleasePurchaseRequest(purchase_id=chosen.purchase_id)
            self.alice.ask(self.alice.purchases.ReleasePurchase, release)
            self.log.add(Kind.RELEASED, purchase_id=chosen.purchase_id)
            return None
        request = purchasing.ConfirmPurchaseRequest(purchase_id=chosen.purchase_id)
        read = purchasing.GetPurchaseRequest(purchase_id=chosen.purchase_id)
        if chosen.how == "external":
            request.external_payment_id = str(uuid.uuid4())
            request.paid.CopyFrom(money(chosen.total))
            purchase = self.shop.ask(self.shop.purchases.ConfirmPurchase, request).purchase
        else:
            self.site.stripe.finish(self.payment_of(chosen.purchase_id))
            purchase = self.alice.ask(self.alice.purchases.GetPurchase, read).purchase
        self._completed(purchase, chosen.how)
        return None

    def payment_of(self, purchase_id: str) -> str:
        """Return the payment of a purchase at the provider."""
        intents = self.site.stripe.intents.items()
        [payment_id] = [key for key, one in intents if one["metadata"].get("purchase_id") == purchase_id]
        return payment_id

    def scan(self) -> bool | None:
        """Scan a ticket at a gate of its event, at times an older print."""
        lane = self._choose(self.working())
        if lane is None or (ticket := self._choose(self._tickets(lane.event_id))) is None:
            return False
        token = ticket.tokens[-1] if self.random.random() < 0.8 else self.random.choice(ticket.tokens)
        self.show(lane, ticket, token)
        return None

    def show(self, lane: Lane, ticket: TicketState, text: str) -> bool:
        """Show a text at a gate; return whether the gate admitted its ticket."""
        answer = lane.handheld.scan(text)
        facts = {"ticket_id": ticket.ticket_id, "scan_id": answer.scan_id, "scan_time": answer.time}
        self.log.add(
            Kind.SHOWN,
            **facts,
            device_id=lane.device_id,
            admitted=answer.admitted,
            offline=answer.offline,
            token=text,
            reason=str(answer.reason),
        )
        if answer.admitted and not answer.offline:
            self.log.add(Kind.RECORDED, **facts)
        return answer.admitted

    def cut(self) -> bool | None:
        """Cut the network of a gate."""
        if (lane := self._choose([lane for lane in self.working() if lane.is_online])) is None:
            return False
        lane.cut()
        return None

    def plug_in(self) -> bool | None:
        """Connect a gate again, which then sends its offline decisions."""
        if (lane := self._choose([lane for lane in self.working() if not lane.is_online])) is None:
            return False
        lane.plug_in()
        lane.await_delivery()
        self.delivered(lane)
        return None

    def delivered(self, lane: Lane) -> None:
        """Record that the service has the offline admissions of a gate."""
        recorded = {entry.facts["scan_id"] for entry in self.log.of(Kind.RECORDED)}
        for entry in self.log.of(Kind.SHOWN):
            facts = entry.facts
            is_new = facts["admitted"] and facts["scan_id"] not in recorded
            if is_new and facts["device_id"] == lane.device_id:
                self.log.add(Kind.RECORDED, **{name: facts[name] for name in ("ticket_id", "scan_id", "scan_time")})

    def cancel(self) -> bool | None:
        """Cancel a ticket, whose refund follows."""
        if (ticket := self._choose(self._tickets(is_open=True))) is None:
            return False
        self.cancel_ticket(ticket)
        return None

    def cancel_ticket(self, ticket: TicketState) -> None:
        """Cancel a ticket unless it was checked in."""
        request = tickets_pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
        try:
            made = self.shop.ask(self.shop.tickets.CancelTicket, request).cancellation
        except grpc.RpcError:
            return
        facts = {"cancellation_id": made.cancellation_id, "refund": made.refund_amount.minor_units}
        self.log.add(Kind.CANCELLED, ticket_id=ticket.ticket_id, **facts)

    def reissue(self) -> bool | None:
        """Reissue a ticket: older prints are void."""
        if (ticket := self._choose(self._tickets(is_open=True))) is None:
            return False
        request = tickets_pb.ReissueTicketRequest(ticket_id=ticket.ticket_id, request_id=str(uuid.uuid4()))
        try:
            made = self.shop.ask(self.shop.tickets.ReissueTicket, request).ticket
        except grpc.RpcError:
            # A ticket that was checked in or blocked keeps its print.
            return None
        self.log.add(Kind.REISSUED, ticket_id=ticket.ticket_id, token=made.token, code=made.code)
        return None

    def block(self) -> bool | None:
        """Block a ticket."""
        return self._set_blocked([one for one in self._tickets(is_open=True) if not one.is_blocked], is_blocked=True)

    def unblock(self) -> bool | None:
        """Unblock a ticket."""
        return self._set_blocked([one for one in self._tickets(is_open=True) if one.is_blocked], is_blocked=False)

    def add_key(self) -> None:
        """Add a key, which signs from now on."""
        status, output = self.site.command_here(TICKETS, "rotate-keys")
        assert status == 0, output
        key_id = self.site.read(TICKETS, "SELECT max(key_id) FROM signing_keys")
        self.log.add(Kind.KEY_ADDED, key_id=key_id)
        self.settle()

    def retire_key(self) -> bool | None:
        """Retire a key that no longer signs: gates deny its tokens."""
        world = self.world
        old = sorted(world.keys - world.retired_keys)[:-1]
        if not old:
            return False
        self.settle()
        status, output = self.site.command_here(TICKETS, "retire-keys", str(old[0]))
        assert status == 0, output
        self.log.add(Kind.KEY_RETIRED, key_id=old[0])
        self.settle()
        return None

    def enroll(self, event_id: str = "") -> bool | None:
        """Enroll a gate device at an event."""
        given = event_id or self._choose(self._events("PUBLISHED"))
        if given is None or len(self.working()) > 6:
            return False
        if not event_id:
            # The gate of a new event opens once the scan service has the event.
            self.settle()
        lane = Lane(self.site, self.organizer, given, f"gate-{len(self.lanes)}", self.folder)
        self.lanes.append(lane)
        self.log.add(Kind.DEVICE_ENROLLED, device_id=lane.device_id, name=lane.name)
        return None

    def revoke(self) -> bool | None:
        """Revoke a device: a thief has it."""
        if len(self.world.revoked) > 1 or (lane := self._choose(self.working())) is None:
            return False
        self.revoke_device(lane)
        return None

    def revoke_device(self, lane: Lane) -> None:
        """Revoke the device of a lane."""
        request = devices_pb.RevokeDeviceRequest(device_id=lane.device_id)
        self.organizer.ask(self.devices.RevokeDevice, request)
        self.log.add(Kind.DEVICE_REVOKED, device_id=lane.device_id)

    def working(self) -> list[Lane]:
        """Return the lanes whose device is neither revoked nor lost."""
        gone = self.world.gone
        return [lane for lane in self.lanes if lane.device_id not in gone]

    def _events(self, status: str) -> list[str]:
        return [event.event_id for event in self.world.events.values() if event.status == status]

    def _tickets(self, event_id: str = "", *, is_open: bool = False) -> list[TicketState]:
        world = self.world
        return [
            ticket
            for ticket in world.tickets.values()
            if ticket.event_id == (event_id or ticket.event_id)
            and not (is_open and (ticket.cancellation_id or world.events[ticket.event_id].status == "CANCELLED"))
        ]

    def _choose(self, among: list[Any]) -> Any:
        return self.random.choice(among) if among else None

    def _update(self, event: event_pb2.Event, path: str) -> None:
        request = event_service_pb2.UpdateEventRequest(event=event)
        request.update_mask.paths.append(path)
        self.organizer.ask(self.organizer.events.UpdateEvent, request)

    def _set_blocked(self, among: list[TicketState], *, is_blocked: bool) -> bool | None:
        if (ticket := self._choose(among)) is None:
            return False
        request = tickets_pb.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=is_blocked)
        try:
            self.organizer.ask(self.organizer.tickets.SetTicketBlocked, request)
        except grpc.RpcError:
            # A ticket that was used cannot be blocked any more.
            return None
        self.log.add(Kind.BLOCKED if is_blocked else Kind.UNBLOCKED, ticket_id=ticket.ticket_id)
        return None

    def _purchase(self, caller: PatientClient, event_id: str, quantity: int, **fields: Any) -> purchase_pb2.Purchase:
        items = [purchase_pb2.PurchaseItem(ticket_type=STANDARD, quantity=quantity)]
        request = purchasing.PurchaseTicketsRequest(
            request_id=str(uuid.uuid4()), event_id=event_id, items=items, **fields
        )
        bought: purchase_pb2.Purchase = caller.ask(caller.purchases.PurchaseTickets, request).purchase
        return bought

    def _completed(self, purchase: purchase_pb2.Purchase, how: str) -> None:
        # A charge that a sweeper just settles is confirmed once more.
        read = eventually(lambda: self._read_completed(purchase.purchase_id, how), seconds=SECONDS)
        assert read is not None
        tickets = [(one.ticket_id, one.token, one.code) for one in read.tickets]
        self.log.add(Kind.COMPLETED, **self._facts(read, how), tickets=tickets)

    def _read_completed(self, purchase_id: str, how: str) -> purchase_pb2.Purchase | None:
        if how == "card":
            confirmation = purchasing.ConfirmPurchaseRequest(purchase_id=purchase_id)
            self.alice.ask(self.alice.purchases.ConfirmPurchase, confirmation)
        request = purchasing.GetPurchaseRequest(purchase_id=purchase_id)
        read: purchase_pb2.Purchase = self.shop.ask(self.shop.purchases.GetPurchase, request).purchase
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


def key_of(text: str) -> int:
    """Return the id of the key that signed a token."""
    token = read_token(text)
    assert isinstance(token, Token)
    return token.key_id


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a failed call."""
    assert isinstance(error, grpc.Call)
    code: grpc.StatusCode = error.code()
    return code
