"""No released purchase is charged: every order of the steps of a charge and of its withdrawal, with every lost answer."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy.engine import URL, Connection

from tests.environment.stepping import Script, Stepper, scripts
from tests.selling.callers import ALICE
from tests.selling.rows import hold, store_event
from tests.stand_ins.stripe import CARD, DECLINED, KEY, StripeStandIn
from ticket_service.adapters.external import ExternalPayments
from ticket_service.adapters.stripe import payments as stripe_payments
from ticket_service.adapters.stripe.payments import StripePayments
from ticket_service.adapters.stripe.records import read_records
from ticket_service.commands.audit import CLEAN, audit
from ticket_service.domain.codes import Codes
from ticket_service.domain.events import Event
from ticket_service.domain.holds import ENDED, Payment
from ticket_service.domain.payments import Charge, Progress, RefundProgress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reconciliation import ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder
from ticket_service.domain.sales import SaleContext
from ticket_service.store.purchases import find_purchase
from ticket_service.use_cases import payments as use_case
from ticket_service.use_cases.confirmations import Confirmations
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.payment_records import PaymentRecords
from ticket_service.use_cases.payments import Payments
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, dependency_unavailable
from ticketing.chassis.ids import new_id

pytestmark = pytest.mark.slow

# The price of the event of `store_event`.
PRICE: Final = 2_500
# The name of the steps in the database; all others are calls to Stripe.
TRANSACTION: Final = "transaction"
BACKEND: Final = Caller("shop", frozenset({Role.SERVICE}))


class SteppedDatabase(Database):
    """A database on which each transaction is one step."""

    stepper: Stepper

    async def run(self, work: Callable[[Connection], Any], *, isolation: str | None = None) -> Any:
        await self.stepper.step(TRANSACTION)
        return await super().run(work, isolation=isolation)


class SteppedStripe:
    """Stripe, where each call is one step whose answer may be lost."""

    def __init__(self, stripe: StripePayments) -> None:
        self._stripe = stripe
        self.stepper: Stepper

    async def advance(self, charge: Charge) -> Progress:
        return await self._call("confirm" if charge.payment_id else "create", self._stripe.advance(charge))

    async def withdraw(self, charge: Charge) -> Progress:
        return await self._call("withdraw", self._stripe.withdraw(charge))

    async def refund(self, order: RefundOrder) -> RefundProgress:
        return await self._stripe.refund(order)

    async def list_refunds(self, payment_id: str) -> Sequence[ProviderRefund]:
        return await self._stripe.list_refunds(payment_id)

    async def close(self) -> None:
        await self._stripe.close()

    async def _call(self, name: str, work: Coroutine[Any, Any, Progress]) -> Progress:
        await self.stepper.step(name)
        progress = await work
        if self.stepper.is_stepping and self.stepper.script.choose(2):
            self.stepper.steps.append("... its answer is lost")
            raise dependency_unavailable("payment provider")
        return progress


def are_dependent(first: str, second: str) -> bool:
    """Return whether two steps use the same system: a call to Stripe reads and writes nothing of the database."""
    return (first == TRANSACTION) == (second == TRANSACTION)


@dataclass
class Till:
    """The use cases of charging, with a database and a provider that run step by step."""

    database: SteppedDatabase
    provider: SteppedStripe
    payments: Payments
    event: Event
    clock: Any

    def begin(self, script: Script) -> Stepper:
        self.provider.stepper = self.database.stepper = Stepper(script, are_dependent)
        return self.database.stepper

    async def hold(self, card: str) -> Purchase:
        """Insert a purchase whose hold ends now, as a sale does."""
        now = self.clock()
        times = {"create_time": now, "hold_expire_time": now, "due_time": now}
        return await self.read(await self.database.run(lambda c: hold(c, self.event, payment_method=card, **times)))

    async def read(self, purchase_id: UUID) -> Purchase:
        found = await self.database.run(lambda connection: find_purchase(connection, purchase_id))
        assert found is not None
        return found

    async def settle(self, purchase: Purchase) -> Purchase:
        """Sweep until the purchase is not held any more."""
        while (found := await self.read(purchase.purchase_id)).status is PurchaseStatus.HELD:
            self.clock.advance(timedelta(minutes=20))
            await self.payments.sweep("stripe")
        return found


@pytest.fixture
async def till(tickets_url: URL, clock, stripe: StripeStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stripe_payments, "CALL_SECONDS", 20.0)
    # The first lost answer ends the buyer's request, as a crash does.
    monkeypatch.setattr(use_case, "TRIES", 1)
    monkeypatch.setattr(use_case, "TRY_AGAIN_SECONDS", 0)
    database = SteppedDatabase(tickets_url, "test")
    provider = SteppedStripe(StripePayments(KEY, stripe.api_base))
    provider.stepper = database.stepper = Stepper(Script())

    def context() -> SaleContext:
        return SaleContext(20, new_id, clock(), timedelta(minutes=10))

    keys = await SigningKeys.open(database, tmp_path / "key", clock)
    records = PaymentRecords(Issuing(Codes("s" * 32), keys), context)
    holds = Holds(database, records, context, lambda: None)
    confirmations = Confirmations(database, records, clock, lambda: None)
    payments = Payments(database, holds, confirmations, {EXTERNAL: ExternalPayments(), "stripe": provider}, clock)
    event = await database.run(lambda connection: store_event(connection, now=clock(), starts_in=timedelta(days=3650)))
    yield Till(database, provider, payments, event, clock)
    await provider.close()
    await database.close()


Withdraw = Callable[[Till, Purchase], Coroutine[Any, Any, Any]]
CALLERS: dict[str, Withdraw] = {
    "sweeper": lambda till, _: till.payments.sweep("stripe"),
    "ReleasePurchase": lambda till, held: till.payments.release(ALICE, held.purchase_id),
    "external payment": lambda till, held: till.payments.confirm(
        BACKEND, held.purchase_id, Payment(f"pay-{held.purchase_id}", ("EUR", PRICE))
    ),
    "ConfirmPurchase": lambda till, held: till.payments.confirm(ALICE, held.purchase_id, None),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("caller", "card"), [*((caller, CARD) for caller in CALLERS), ("ReleasePurchase", DECLINED)])
async def test_no_released_purchase_is_charged_in_any_order(till, stripe, tickets_url, caller, card):
    runs = 0
    for script in scripts():
        runs += 1
        held = await till.hold(card)
        stepper = till.begin(script)
        actors = {"buyer": till.payments.begin(held), caller: CALLERS[caller](till, held)}
        results = await stepper.run(actors)
        story = "\n".join(stepper.steps)
        for result in results.values():
            assert not isinstance(result, BaseException) or isinstance(result, Failure), (result, story)
        for found in (await till.read(held.purchase_id), await till.settle(held)):
            captured = stripe.charged().get(str(held.purchase_id), 0)
            assert not (found.status in ENDED and captured), f"{found.status}, {captured} captured\n{story}"
        if caller == "ReleasePurchase" and results[caller] is None:
            assert found.status in ENDED, f"the answer was RELEASED, then it is {found.status}\n{story}"
    print(f"{runs} runs")
    assert runs > 10

    def prove() -> tuple[int, list[str]]:
        lines: list[str] = []
        return audit(tickets_url, lines.append, {"stripe": lambda: read_records(KEY, stripe.api_base)}), lines

    status, lines = await asyncio.to_thread(prove)
    assert status == CLEAN, "\n".join(lines)
