"""Two invariants of money hold through histories that Hypothesis generates, with faults of the provider and restores.

1. Once the reconciler has run, the provider's view of the money equals that of the service.
2. No buyer gets less than the terms at purchase said.

The histories contain late failures, pending refunds, disputes, refunds and captures behind the back of the service,
changed terms, and restores of the tickets database to any earlier moment. TICKETING_MONEY_ROUNDS is their number.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.backups import back_up, restore, tables
from tests.environment.databases import connected
from tests.environment.messages import at
from tests.environment.refusals import Refusal
from tests.selling.comparison import StillApp, World, answer_of
from tests.selling.shop import Shop, money
from tests.stand_ins.stripe import CARD, KEY, SECURE, StripeStandIn
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.adapters.stripe.records import read_records
from ticket_service.commands.audit import CLEAN, audit
from ticketing.tickets.v1 import event_pb2, purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing
from ticketing.tickets.v1 import ticket_service_pb2 as pb

pytestmark = pytest.mark.slow

ROUNDS: Final = int(os.environ.get("TICKETING_MONEY_ROUNDS", "10"))
STEPS: Final = 25
PRICE: Final = 2_500
POLICIES: Final = [[(7, 100), (3, 50)], [(0, 0)], [(0, 100)], [(20, 80), (1, 10)]]
pick = st.integers(0, 63)
DONE = ticket_pb2.CANCELLATION_STATUS_DONE


@dataclass(frozen=True)
class Terms:
    """The terms at a purchase."""

    tiers: list[tuple[int, int]]
    start: date

    def least(self, day: date) -> int:
        """Return the least refund of a ticket that is cancelled on a day."""
        reached = [tier for tier in self.tiers if tier[0] <= (self.start - day).days]
        return PRICE * max(reached, default=(0, 0))[1] // 100


class Money(RuleBasedStateMachine):
    """A history of one event whose tickets are paid by card."""

    def __init__(self, world: World, stripe: StripeStandIn, url: URL) -> None:
        super().__init__()
        self.world, self.stripe, self.url = world, stripe, url
        world.clock.now = world.began
        stripe.refund_status = "succeeded"
        self.event: event_pb2.Event
        self.bought: list[purchase_pb2.Purchase] = []
        # By purchase id; a restore does not change what a buyer has read.
        self.terms: dict[str, Terms] = {}
        self.backups: list[dict[str, str]] = []

    def call(self, call: Any) -> Any:
        """Make a call; return None if it is refused."""
        answer = self.world.run(answer_of(call))
        return None if isinstance(answer, Refusal) else answer

    @initialize(policy=st.sampled_from(POLICIES))
    def publish(self, policy: list[tuple[int, int]]) -> None:
        start = self.world.clock.now + timedelta(days=40)
        fields: dict[str, Any] = {
            "start_time": at(start),
            "end_time": at(start + timedelta(hours=4)),
            "ticket_price": money(PRICE),
            "max_participants": 5,
            "refund_policy": refund_policy(policy),
        }
        self.event = self.world.run(self.world.shop.on_sale(**fields))
        self.policy, self.start = policy, start
        # Hypothesis leaves rules out of a history, so every history begins with purchases and a cancellation.
        self.buy(2, CARD)
        self.buy(1, SECURE)
        self.make_a_backup()
        self.cancel(0)
        self.sweep()

    @rule(quantity=st.integers(1, 2), method=st.sampled_from([CARD, CARD, SECURE]))
    def buy(self, quantity: int, method: str) -> None:
        call = self.world.shop.buy(self.event.event_id, quantity=quantity, payment_method_id=method)
        if (purchase := self.call(call)) is not None:
            self.bought.append(purchase)
            self.terms[purchase.purchase_id] = Terms(self.policy, self.start.date())

    @precondition(lambda self: self.bought)
    @rule(which=pick, releases=st.booleans())
    def release_or_confirm(self, which: int, *, releases: bool) -> None:
        purchase_id = self._purchase(which).purchase_id
        metadata = self.world.shop.metadata()
        if releases:
            release = purchasing.ReleasePurchaseRequest(purchase_id=purchase_id)
            self.call(self.world.shop.purchases.ReleasePurchase(release, metadata=metadata))
        else:
            confirm = purchasing.ConfirmPurchaseRequest(purchase_id=purchase_id)
            self.call(self.world.shop.purchases.ConfirmPurchase(confirm, metadata=metadata))

    @precondition(lambda self: self._intents("requires_action", "canceled"))
    @rule(which=pick)
    def capture(self, which: int) -> None:
        """Capture a charge, whether the service still waits for it or has withdrawn it."""
        intents = self._intents("requires_action", "canceled")
        self.stripe.capture(intents[which % len(intents)]["id"])

    @precondition(lambda self: self.bought)
    @rule(which=pick)
    def cancel(self, which: int) -> None:
        get = purchasing.GetPurchaseRequest(purchase_id=self._purchase(which).purchase_id)
        read = self.call(self.world.shop.purchases.GetPurchase(get, metadata=self.world.backend))
        for ticket in read.purchase.tickets[:1] if read else ():
            request = pb.CancelTicketRequest(ticket_id=ticket.ticket_id)
            self.call(self.world.tickets.CancelTicket(request, metadata=self.world.backend))

    @rule(which=pick)
    def retry(self, which: int) -> None:
        failed = [one for one in self._cancellations() if one.status == ticket_pb2.CANCELLATION_STATUS_REFUND_FAILED]
        for one in failed[which % len(failed) :][:1] if failed else ():
            request = pb.RetryRefundRequest(cancellation_id=one.cancellation_id)
            self.call(self.world.tickets.RetryRefund(request, metadata=self.world.organizer))

    @precondition(lambda self: self._intents("succeeded"))
    @rule(which=pick, amount=st.sampled_from([1, 700, PRICE, None]))
    def refund_in_dashboard(self, which: int, amount: int | None) -> None:
        paid = self._intents("succeeded")
        payment_id = paid[which % len(paid)]["id"]
        left = self.stripe.refundable(payment_id)
        if left and self.stripe.open_dispute(payment_id) is None:
            self.stripe.refund_in_dashboard(payment_id, None if amount is None else min(amount, left))

    @rule(status=st.sampled_from(["succeeded", "pending"]))
    def make_refunds(self, status: str) -> None:
        self.stripe.refund_status = status

    @precondition(lambda self: self.stripe.refunds)
    @rule(which=pick, status=st.sampled_from(["succeeded", "failed"]))
    def settle_refund(self, which: int, status: str) -> None:
        """End a pending refund, or let a made one fail later."""
        refund = self.stripe.refunds[which % len(self.stripe.refunds)]
        if refund["status"] == "pending" or (refund["status"] == "succeeded" and status == "failed"):
            self.stripe.settle_refund(refund["id"], status)

    @precondition(lambda self: self.bought)
    @rule(which=pick, amount=st.sampled_from([700, PRICE]))
    def return_counted(self, which: int, amount: int) -> None:
        """Refund a part in the dashboard, let a cancellation count it, and let it fail then."""
        payment_id = self._purchase(which).payment.payment_id
        before = len(self.stripe.refunds)
        if self.stripe.intents[payment_id]["status"] == "succeeded" and self.stripe.refundable(payment_id) > amount:
            self.stripe.refund_in_dashboard(payment_id, amount)
            self.cancel(which)
            self.sweep()
            self.stripe.settle_refund(self.stripe.refunds[before]["id"], "failed")

    @precondition(lambda self: self._intents("succeeded"))
    @rule(which=pick)
    def dispute(self, which: int) -> None:
        paid = self._intents("succeeded")
        payment_id = paid[which % len(paid)]["id"]
        disputed = {dispute["payment_intent"] for dispute in self.stripe.disputes.values()}
        if payment_id not in disputed and self.stripe.refundable(payment_id):
            self.stripe.dispute(payment_id, self.stripe.refundable(payment_id))

    @precondition(lambda self: self.stripe.disputes)
    @rule(which=pick, won=st.booleans())
    def close_dispute(self, which: int, *, won: bool) -> None:
        disputes = list(self.stripe.disputes.values())
        dispute = disputes[which % len(disputes)]
        if dispute["status"] == "needs_response":
            self.stripe.close_dispute(dispute["id"], won=won)

    @rule(policy=st.sampled_from(POLICIES), days=st.sampled_from([0, 0, -10, 10]))
    def change_terms(self, policy: list[tuple[int, int]], days: int) -> None:
        start = self.start + timedelta(days=days)
        changed = self.world.run(self.world.shop.get(self.event.event_id, Shop.OLGA))
        changed.refund_policy.CopyFrom(refund_policy(policy))
        changed.start_time.CopyFrom(at(start))
        changed.end_time.CopyFrom(at(start + timedelta(hours=4)))
        if self.call(self.world.shop.update(changed, "refund_policy", "start_time", "end_time")) is not None:
            self.policy, self.start = policy, start

    @rule()
    def make_a_backup(self) -> None:
        self.backups.append(back_up(self.url))

    @rule(which=pick)
    def restore(self, which: int) -> None:
        """Restore any earlier moment, as docs/operations.md says."""
        restore(self.url, self.backups[which % len(self.backups)])
        event = self.world.run(self.world.shop.get(self.event.event_id, Shop.OLGA))
        self.start = event.start_time.ToDatetime(UTC)
        self.policy = [(tier.days_before, tier.percent) for tier in event.refund_policy.tiers]

    @rule()
    def sweep(self) -> None:
        self.world.clock.advance(timedelta(minutes=20))
        self._sweep()

    @rule()
    def compare(self) -> None:
        """Let the reconciler run until nothing changes, and compare the money."""
        self.stripe.refund_status = "succeeded"
        for refund in self.stripe.refunds:
            if refund["status"] == "pending":
                self.stripe.settle_refund(refund["id"], "succeeded")
        for hours in (1, 25, 1):
            self.world.clock.advance(timedelta(hours=hours))
            self._sweep()
            self._refund_unmatched()
        self.world.clock.advance(timedelta(minutes=10))
        self._sweep()
        lines: list[str] = []
        records = {"stripe": lambda: read_records(KEY, self.stripe.api_base)}
        assert audit(self.url, lines.append, records) == CLEAN, "\n".join(lines)
        self._compare_terms()

    def teardown(self) -> None:
        if self.backups:
            self.compare()
        # The next history has a new event at the same account.
        self.stripe.disputes.clear()
        self.stripe.refunds.clear()
        self.stripe.intents.clear()
        restore(self.url, dict.fromkeys(tables(self.url), "[]"))

    def _compare_terms(self) -> None:
        returned = self.stripe.refunded()
        for dispute in self.stripe.disputes.values():
            if dispute["status"] == "lost":
                purchase_id = self.stripe.intents[dispute["payment_intent"]]["metadata"]["purchase_id"]
                returned[purchase_id] = returned.get(purchase_id, 0) + dispute["amount"]
        granted: dict[str, int] = {}
        for one in self._cancellations():
            ticket = self._ticket(one.ticket_id)
            terms = self.terms[ticket.purchase_id]
            assert one.refund_amount.minor_units >= terms.least(one.create_time.ToDatetime(UTC).date())
            if one.status == DONE:
                granted[ticket.purchase_id] = granted.get(ticket.purchase_id, 0) + one.refund_amount.minor_units
        assert {key: amount for key, amount in granted.items() if returned.get(key, 0) < amount} == {}

    def _sweep(self) -> None:
        for _ in range(2):
            for work in self.world.app.unfinished:
                while self.world.run(work.sweep()):
                    pass

    def _refund_unmatched(self) -> None:
        """Refund the payments that a restore has lost, as an operator does."""
        with connected(self.url) as cursor:
            cursor.execute("SELECT payment_id FROM unmatched_payments WHERE refunded < amount")
            lost = [payment_id for (payment_id,) in cursor.fetchall()]
        for payment_id in lost:
            dispute = self.stripe.open_dispute(payment_id)
            if dispute is not None and dispute["status"] == "needs_response":
                self.stripe.close_dispute(dispute["id"], won=True)
            if self.stripe.refundable(payment_id) and self.stripe.open_dispute(payment_id) is None:
                self.stripe.refund_in_dashboard(payment_id)

    def _purchase(self, which: int) -> purchase_pb2.Purchase:
        return self.bought[which % len(self.bought)]

    def _intents(self, *statuses: str) -> list[Any]:
        return [intent for intent in self.stripe.intents.values() if intent["status"] in statuses]

    def _cancellations(self) -> list[ticket_pb2.Cancellation]:
        request = pb.ListCancellationsRequest(event_id=self.event.event_id, page_size=100)
        listed = self.world.run(self.world.tickets.ListCancellations(request, metadata=self.world.backend))
        rejected = ticket_pb2.CANCELLATION_STATUS_REJECTED
        return [one for one in listed.cancellations if one.status != rejected]

    def _ticket(self, ticket_id: str) -> ticket_pb2.Ticket:
        request = pb.GetTicketRequest(ticket_id=ticket_id)
        found: ticket_pb2.Ticket = self.world.run(
            self.world.tickets.GetTicket(request, metadata=self.world.backend)
        ).ticket
        return found


def refund_policy(tiers: list[tuple[int, int]]) -> event_pb2.RefundPolicy:
    tier = event_pb2.RefundPolicy.Tier
    return event_pb2.RefundPolicy(tiers=[tier(days_before=days, percent=percent) for days, percent in tiers])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeout, because the test machine may be busy."""
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)


@pytest.fixture
def world(make_settings: Any, tickets_url: URL, clock: Any, issuer: Issuer, stripe: StripeStandIn) -> Iterator[World]:
    """Run a ticket service that charges cards, and a stand-in for the scan service."""
    variables = {
        "TICKETS_STRIPE_KEY": KEY,
        "TICKETS_STRIPE_API_BASE": stripe.api_base,
        "TICKETS_BLOCK_DISPUTED": "yes",
    }
    world = World(clock)
    world.run(
        world.open(
            lambda address: StillApp(make_settings(TICKETS_SCANS_ADDRESS=address, **variables), tickets_url, clock),
            issuer,
        )
    )
    yield world
    world.close()


@pytest.mark.timeout(600 + 60 * ROUNDS)
def test_money_adds_up_and_terms_hold_in_every_history(world: World, stripe: StripeStandIn, tickets_url: URL) -> None:
    run_state_machine_as_test(
        lambda: Money(world, stripe, tickets_url),  # type: ignore[arg-type]  # Hypothesis calls it like a class
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=STEPS,
            derandomize="TICKETING_MONEY_ROUNDS" not in os.environ,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
