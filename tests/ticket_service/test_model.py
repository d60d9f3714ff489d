"""Compare the ticket service with a model of it: both give the same answers to histories that Hypothesis generates.

TICKETING_ROUNDS is the number of histories; each has its own event. Hypothesis shrinks a failing history and prints it
as a program.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy.engine import URL

from tests.environment.access import PEER_METADATA, Issuer
from tests.environment.messages import at
from tests.environment.refusals import Refusal
from tests.selling.comparison import StillApp, World, answer_of, offer, refusal_by
from tests.selling.model import Line, Purchase, SalesModel, Ticket
from tests.selling.shop import money, new_id
from ticket_service.commands.audit import CLEAN, audit
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)

pytestmark = pytest.mark.slow

ROUNDS: Final = int(os.environ.get("TICKETING_ROUNDS", "10"))
STEPS: Final = 40
# The longest wait before a reissue or cancellation is tried again.
A_WHILE: Final = timedelta(minutes=1)

BASKETS: Final = [
    {"STANDARD": 1},
    {"STANDARD": 2},
    {"STANDARD": 1, "VIP": 1},
    {"VIP": 2},
    {"STANDARD": 4},
    {"GROUP": 1},
]
PRICE_LISTS: Final = [
    {"STANDARD": Line(2_500, max_per_purchase=3), "VIP": Line(9_999, max_per_purchase=2)},
    {"STANDARD": Line(333, capacity=3), "VIP": Line(1, capacity=2)},
    {"STANDARD": Line(0), "VIP": Line(7_001, capacity=2)},
]
# None: the default policy applies.
POLICIES: Final = [None, [(0, 25), (8, 80)], [(1, 33), (5, 67), (6, 50)], [(4, 0), (2, 100)]]
STEPS_IN_TIME: Final = [timedelta(seconds=1), timedelta(minutes=5), timedelta(minutes=10), timedelta(days=1)]
pick = st.integers(0, 63)
Baskets = st.sampled_from(BASKETS)
Buyers = st.sampled_from(["alice", "bob"])
# A buyer, the items, and whether the purchase is paid already.
Orders = st.tuples(Buyers, Baskets, st.booleans())
# The difference of an expected or paid price from the right one.
Mistakes = st.sampled_from([0] * 7 + [1])


class Selling(RuleBasedStateMachine):
    """A history that is run against the service and against the model, step by step."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        # Each history has a new event, so its time may start again.
        self.world.clock.now = world.began
        self.world.scans.fails_with = None
        self.model: SalesModel
        self.event_id = ""
        self.asked: list[tuple[str, str, dict[str, int], str]] = []
        self.changes: list[tuple[str, Ticket, str | None]] = []
        # The requests to refund a part of a price: the request, the ticket, the amount, and the id of the refund.
        self.parts: list[tuple[str, Ticket, int, str]] = []
        self.sequence = 0

    @property
    def now(self) -> datetime:
        hour: datetime = self.world.clock.now
        return hour

    def ask(self, call: Any, say: Callable[[], Any]) -> Any:
        """Make a call and the model's step; check that both or neither refuse, and why. Return the response, or None."""
        answer = self.world.run(answer_of(call))
        refused = refusal_by(say)
        self.world.answers["refused" if refused else "done"] += 1
        if refused is not None:
            assert isinstance(answer, Refusal), f"the model refuses: {refused.reason}"
            assert answer.reason == refused.reason
            assert refused.facts.items() <= answer.metadata.items()
        else:
            assert not isinstance(answer, Refusal), answer
        self.world.run(self.world.look(self.event_id, self.model))
        return None if refused else answer

    @initialize(
        prices=st.sampled_from(PRICE_LISTS),
        max_participants=st.sampled_from([None, 2, 4, 6]),
        policy=st.sampled_from(POLICIES),
        is_single_entry=st.booleans(),
        first=st.lists(Orders, min_size=2, max_size=4),
    )
    def publish(
        self,
        prices: dict[str, Line],
        max_participants: int | None,
        policy: list[tuple[int, int]] | None,
        first: list[tuple[str, dict[str, int], bool]],
        *,
        is_single_entry: bool,
    ) -> None:
        start, end = self.now + timedelta(days=9), self.now + timedelta(days=9, hours=4)
        tiers = policy or [(7, 100), (3, 50)]
        # VIP tickets are sold until two days before the start.
        prices = {**prices, "VIP": Line(prices["VIP"].price, prices["VIP"].capacity, 2, start - timedelta(days=2))}
        self.model = SalesModel(start, end, max_participants, prices, tiers, is_single_entry)
        entry = "SINGLE_ENTRY" if is_single_entry else "RE_ENTRY"
        fields: dict[str, Any] = {
            "start_time": at(start),
            "end_time": at(end),
            "ticket_price": money(0),
            "offers": [offer(kind, line) for kind, line in prices.items()],
            "admission_policy": f"ADMISSION_POLICY_{entry}",
        }
        if max_participants is not None:
            fields["max_participants"] = max_participants
        if policy is not None:
            tier = event_pb2.RefundPolicy.Tier
            fields["refund_policy"] = event_pb2.RefundPolicy(
                tiers=[tier(days_before=days, percent=percent) for days, percent in policy]
            )
        self.event_id = self.world.run(self.world.shop.on_sale(**fields)).event_id
        for order in first:
            self.buy(order, wrong_by=0)

    @rule(order=Orders, wrong_by=Mistakes)
    def buy(self, order: tuple[str, dict[str, int], bool], wrong_by: int) -> None:
        buyer, basket, is_paid = order
        self._purchase((new_id(), buyer, basket, f"pay-{new_id()}" if is_paid else ""), wrong_by)

    @precondition(lambda self: self.asked)
    @rule(which=pick)
    def repeat_an_order(self, which: int) -> None:
        self._purchase(self.asked[which % len(self.asked)])

    @precondition(lambda self: self.asked)
    @rule(which=pick, buyer=Buyers, basket=Baskets)
    def reuse_the_id_of_an_order(self, which: int, buyer: str, basket: dict[str, int]) -> None:
        request, _, _, payment = self.asked[which % len(self.asked)]
        self._purchase((request, buyer, basket, payment))

    @precondition(lambda self: self.model.payments)
    @rule(which=pick, basket=Baskets)
    def pay_with_a_used_payment(self, which: int, basket: dict[str, int]) -> None:
        payments = list(self.model.payments)
        self._purchase((new_id(), "alice", basket, payments[which % len(payments)]))

    @precondition(lambda self: self.model.purchases)
    @rule(which=pick, wrong_by=Mistakes)
    def pay(self, which: int, wrong_by: int) -> None:
        purchase = self._purchase_at(which)
        self._confirm(purchase, f"pay-{new_id()}", purchase.total + wrong_by)

    @precondition(lambda self: self.model.payments)
    @rule(which=pick, payment=pick)
    def repeat_a_payment(self, which: int, payment: int) -> None:
        payments = list(self.model.payments)
        purchase = self._purchase_at(which)
        self._confirm(purchase, payments[payment % len(payments)], purchase.total)

    @precondition(lambda self: self.model.purchases)
    @rule(which=pick)
    def release(self, which: int) -> None:
        purchase = self._purchase_at(which)
        request = purchase_service_pb2.ReleasePurchaseRequest(purchase_id=purchase.id)
        call = self.world.shop.purchases.ReleasePurchase(request, metadata=self.world.backend)
        if answer := self.ask(call, lambda: self.model.release(purchase)):
            self.world.compare_purchase(answer.purchase, purchase, self.model)

    @precondition(lambda self: self.model.payments)
    @rule(which=pick, refund=st.integers(0, 2))
    def refund_payment(self, which: int, refund: int) -> None:
        purchase = self._purchase_at(which)
        refund_id = f"refund-{refund}-{purchase.id}"
        request = ticket_service_pb2.ConfirmRefundRequest(purchase_id=purchase.id, refund_id=refund_id)
        call = self.world.tickets.ConfirmRefund(request, metadata=self.world.backend)
        self.ask(call, lambda: self.model.refund_payment(purchase, refund_id))

    @precondition(lambda self: self.model.tickets)
    @rule(which=pick, share=st.sampled_from([None] * 6 + [0.5, 1.0, 2.0]))
    def cancel(self, which: int, share: float | None) -> None:
        ticket = self._ticket_at(which)
        wanted = None if share is None else int(share * ticket.price)
        amount = None if wanted is None else money(wanted)
        request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.id, refund_amount=amount)
        call = self.world.tickets.CancelTicket(request, metadata=self.world.backend)
        if answer := self.ask(call, lambda: self.model.cancel(ticket, self.now, wanted)):
            its = answer.cancellation
            assert ticket_pb2.CancellationStatus.Name(its.status) == f"CANCELLATION_STATUS_{ticket.cancellation}"
            assert (its.refund_amount.minor_units, its.refund_percent) == (ticket.granted, ticket.percent)
            self.world.compare_ticket(answer.ticket, ticket, self.model)

    @precondition(lambda self: self.model.tickets)
    @rule(which=pick, share=st.sampled_from([0.1, 0.4, 0.6]))
    def refund_part(self, which: int, share: float) -> None:
        amount = max(1, int(share * self._ticket_at(which).price))
        self.parts.append((new_id(), self._ticket_at(which), amount, ""))
        self._refund_part(len(self.parts) - 1)

    @precondition(lambda self: self.parts)
    @rule(which=pick)
    def repeat_a_refund_of_a_part(self, which: int) -> None:
        self._refund_part(which % len(self.parts))

    @precondition(lambda self: any(part for *_, part in self.parts))
    @rule(which=pick, refund=st.integers(0, 1))
    def confirm_a_refund_of_a_part(self, which: int, refund: int) -> None:
        made = [part for part in self.parts if part[3]]
        _, ticket, _, part_id = made[which % len(made)]
        place = [part for _, its, _, part in self.parts if its is ticket and part].index(part_id)
        request = ticket_service_pb2.ConfirmRefundRequest(
            ticket_refund_id=part_id, refund_id=f"part-{refund}-{part_id}"
        )
        call = self.world.tickets.ConfirmRefund(request, metadata=self.world.backend)
        self.ask(call, lambda: self.model.confirm_part(ticket, place, request.refund_id))

    @precondition(lambda self: any(ticket.cancellation for ticket in self.model.tickets))
    @rule(which=pick, refund=st.integers(0, 1))
    def refund(self, which: int, refund: int) -> None:
        cancelled = [ticket for ticket in self.model.tickets if ticket.cancellation]
        ticket = cancelled[which % len(cancelled)]
        found = self.world.run(self.world.read_ticket(ticket))
        request = ticket_service_pb2.ConfirmRefundRequest(
            cancellation_id=found.cancellation_id, refund_id=f"refund-{refund}"
        )
        call = self.world.tickets.ConfirmRefund(request, metadata=self.world.backend)
        self.ask(call, lambda: self.model.refund_cancellation(ticket, f"refund-{refund}"))

    @precondition(lambda self: self.model.tickets)
    @rule(which=pick, holder=st.sampled_from([None, "carol", "dave"]))
    def change(self, which: int, holder: str | None) -> None:
        self.changes.append((new_id(), self._ticket_at(which), holder))
        self._change(*self.changes[-1])

    @precondition(lambda self: self.changes)
    @rule(which=pick)
    def repeat_a_change(self, which: int) -> None:
        self._change(*self.changes[which % len(self.changes)])

    @precondition(lambda self: self.changes and self.asked)
    @rule(which=pick, other=pick, holder=st.sampled_from([None, "carol"]))
    def reuse_the_id_of_a_change(self, which: int, other: int, holder: str | None) -> None:
        taken = [*(request for request, _, _ in self.changes), *(request for request, _, _, _ in self.asked)]
        self._change(taken[which % len(taken)], self._ticket_at(other), holder)

    @precondition(lambda self: self.model.tickets)
    @rule(which=pick, blocked=st.booleans())
    def block(self, which: int, *, blocked: bool) -> None:
        ticket = self._ticket_at(which)
        request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=ticket.id, blocked=blocked)
        call = self.world.tickets.SetTicketBlocked(request, metadata=self.world.organizer)
        if answer := self.ask(call, lambda: self.model.block(ticket, blocked=blocked)):
            self.world.compare_ticket(answer.ticket, ticket, self.model)

    @precondition(lambda self: self._admissible())
    @rule(which=pick)
    def check_in(self, which: int) -> None:
        waiting = self._admissible()
        ticket = waiting[which % len(waiting)]
        ticket.admitted = self.world.scans.admitted[ticket.id] = self.now

    @precondition(lambda self: self._checked_in())
    @rule(which=pick)
    def report(self, which: int) -> None:
        checked_in = self._checked_in()
        ticket = checked_in[which % len(checked_in)]
        self._report(ticket, ticket.admitted)

    @precondition(lambda self: self._checked_in())
    @rule(which=pick)
    def annul(self, which: int) -> None:
        checked_in = self._checked_in()
        ticket = checked_in[which % len(checked_in)]
        ticket.admitted = None
        del self.world.scans.admitted[ticket.id]
        self._report(ticket, None)

    @precondition(lambda self: self.model.tickets)
    @rule(is_meant=st.sampled_from([False] * 9 + [True]))
    def cancel_event(self, *, is_meant: bool) -> None:
        # Cancellations are rare, because little can happen afterwards.
        if not is_meant:
            return
        request = event_service_pb2.CancelEventRequest(event_id=self.event_id)
        call = self.world.shop.events.CancelEvent(request, metadata=self.world.organizer)
        are_closed: list[bool] = []
        if answer := self.ask(call, lambda: are_closed.append(self.model.cancel_event())):
            assert [answer.gates_closed] == are_closed

    @rule(is_cut_off=st.booleans())
    def connect_or_cut_off_the_scan_service(self, *, is_cut_off: bool) -> None:
        self.model.is_cut_off = is_cut_off
        self.world.scans.fails_with = grpc.StatusCode.UNAVAILABLE if is_cut_off else None

    @rule()
    def sweep(self) -> None:
        self.world.clock.advance(A_WHILE)
        self.world.run(self.world.sweep())
        self.model.sweep(self.now)

    @rule(by=st.sampled_from(STEPS_IN_TIME))
    def wait(self, by: timedelta) -> None:
        self.world.clock.advance(by)

    @precondition(lambda self: self.now < self.model.end)
    @rule(seconds=st.sampled_from([0, 1]))
    def wait_for_the_next_edge(self, seconds: int) -> None:
        """Advance to the next time at which answers change, or a second past it."""
        days = {0, 2, *(days for days, _ in self.model.tiers)}
        # Days before the event are dates, so the answers change at midnight.
        midnight = self.model.start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        edges = [self.model.end, self.model.start, *(midnight - timedelta(days=before) for before in days)]
        self.world.clock.now = min(edge for edge in edges if edge > self.now) + timedelta(seconds=seconds)

    @precondition(lambda self: self.model.purchases)
    @rule(which=pick)
    def read(self, which: int) -> None:
        self.world.run(self.world.read(self._purchase_at(which), self.model))

    def teardown(self) -> None:
        """Compare everything once more."""
        if self.event_id:
            self.world.run(self.world.look(self.event_id, self.model))
        for purchase in self.model.purchases if self.event_id else ():
            self.world.run(self.world.read(purchase, self.model))

    def _refund_part(self, which: int) -> None:
        request_id, ticket, amount, known = self.parts[which]
        request = ticket_service_pb2.RefundTicketRequest(
            request_id=request_id, ticket_id=ticket.id, amount=money(amount)
        )
        call = self.world.tickets.RefundTicket(request, metadata=self.world.backend)
        if answer := self.ask(call, lambda: self.model.refund_part(request_id, ticket, amount)):
            assert known in {"", answer.refund.ticket_refund_id}
            self.parts[which] = (request_id, ticket, amount, answer.refund.ticket_refund_id)

    def _purchase_at(self, which: int) -> Purchase:
        return self.model.purchases[which % len(self.model.purchases)]

    def _ticket_at(self, which: int) -> Ticket:
        return self.model.tickets[which % len(self.model.tickets)]

    def _admissible(self) -> list[Ticket]:
        if self.model.are_gates_closed:
            return []
        good = [ticket for ticket in self.model.tickets if ticket.status == "ACTIVE" and self.now <= self.model.end]
        return [ticket for ticket in good if ticket.admitted is None]

    def _checked_in(self) -> list[Ticket]:
        return [ticket for ticket in self.model.tickets if ticket.admitted is not None]

    def _purchase(self, asked: tuple[str, str, dict[str, int], str], wrong_by: int = 0) -> None:
        self.asked.append(asked)
        request_id, buyer, basket, payment = asked
        lines = self.model.lines
        total = sum(lines[kind].price * quantity for kind, quantity in basket.items() if kind in lines) + wrong_by
        request = purchase_service_pb2.PurchaseTicketsRequest(
            request_id=request_id,
            event_id=self.event_id,
            items=[
                purchase_pb2.PurchaseItem(
                    ticket_type=event_pb2.TicketType.Value(f"TICKET_TYPE_{kind}"), quantity=quantity
                )
                for kind, quantity in basket.items()
            ],
            user_id=buyer,
            expected_total=money(total),
        )
        if payment:
            request.external_payment_id = payment
        call = self.world.shop.purchases.PurchaseTickets(request, metadata=self.world.backend)
        bought: list[Purchase] = []
        answer = self.ask(
            call, lambda: bought.append(self.model.buy(request_id, buyer, basket, payment, total, self.now))
        )
        if answer:
            self.world.compare_purchase(answer.purchase, bought[0], self.model)

    def _confirm(self, purchase: Purchase, payment: str, paid: int) -> None:
        request = purchase_service_pb2.ConfirmPurchaseRequest(
            purchase_id=purchase.id, external_payment_id=payment, paid=money(paid)
        )
        call = self.world.shop.purchases.ConfirmPurchase(request, metadata=self.world.backend)
        if answer := self.ask(call, lambda: self.model.confirm(purchase, payment, paid, self.now)):
            self.world.compare_purchase(answer.purchase, purchase, self.model)

    def _change(self, request_id: str, ticket: Ticket, holder: str | None) -> None:
        if holder is None:
            reissue = ticket_service_pb2.ReissueTicketRequest(ticket_id=ticket.id, request_id=request_id)
            call: Awaitable[object] = self.world.tickets.ReissueTicket(reissue, metadata=self.world.backend)
        else:
            transfer = ticket_service_pb2.TransferTicketRequest(
                ticket_id=ticket.id, request_id=request_id, user_id=holder
            )
            call = self.world.tickets.TransferTicket(transfer, metadata=self.world.backend)
        if answer := self.ask(call, lambda: self.model.reissue(request_id, ticket, holder, self.now)):
            self.world.compare_ticket(answer.ticket, ticket, self.model)

    def _report(self, ticket: Ticket, time: datetime | None) -> None:
        self.sequence += 1
        check_in = ticket_feed_service_pb2.CheckIn(
            event_id=self.event_id,
            ticket_id=ticket.id,
            sequence=self.sequence,
            check_in_time=at(time) if time else None,
        )
        request = ticket_feed_service_pb2.ReportCheckInsRequest(check_ins=[check_in])
        answer = self.world.run(self.world.feed.ReportCheckIns(request, metadata=PEER_METADATA))
        assert not answer.conflicts, "no ticket is both checked in and refunded"
        self.model.report(ticket, time)


@pytest.fixture
def world(make_settings: Any, tickets_url: URL, clock: Any, issuer: Issuer) -> Iterator[World]:
    """Run a ticket service and a stand-in for the scan service."""
    world = World(clock)
    world.run(
        world.open(lambda address: StillApp(make_settings(TICKETS_SCANS_ADDRESS=address), tickets_url, clock), issuer)
    )
    yield world
    world.close()


@pytest.mark.timeout(600 + 6 * ROUNDS)
def test_the_service_answers_as_a_simple_model_of_it(world: World, tickets_url: URL) -> None:
    run_state_machine_as_test(
        lambda: Selling(world),  # type: ignore[arg-type]  # Hypothesis calls it without arguments, as it would a class.
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=STEPS,
            # The suite runs the same histories every time, so that it does not fail by chance; long runs find new ones.
            derandomize="TICKETING_ROUNDS" not in os.environ,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    print(f"{ROUNDS} histories, {dict(world.answers)}")
    answer: list[str] = []
    assert audit(tickets_url, answer.append) == CLEAN, answer
