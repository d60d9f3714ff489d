"""The clients beside the buyers: holders, an organizer and a cashier."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.faults.callers import Caller, GaveUpError, RefusedError
from tests.faults.world import SoldEvent, SoldTicket, World
from tests.selling.shop import money
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, refund_pb2
from ticketing.tickets.v1 import event_service_pb2 as events_pb
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb

# The shares of the price that the organizer's terms refund, in percent.
PERCENTS: Final = (100, 80, 50, 20)


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


def _cancellation_facts(response: Any) -> dict[str, Any]:
    made = response.cancellation
    return {"cancellation_id": made.cancellation_id, "status": made.status, "refund": made.refund_amount.minor_units}
