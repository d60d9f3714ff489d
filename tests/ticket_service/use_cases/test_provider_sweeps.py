"""The due work of each payment provider is done alone; a provider without settings loses nothing."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.engine import URL, Connection

from tests.environment.clock import SettableClock
from tests.selling.rows import hold, store_event
from ticket_service.adapters.external import ExternalPayments
from ticket_service.app import App
from ticket_service.domain.codes import Codes
from ticket_service.domain.payments import Charge, Progress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.sales import SaleContext
from ticket_service.settings import Settings
from ticket_service.store.events import find_event
from ticket_service.store.purchases import find_purchase
from ticket_service.use_cases.confirmations import Confirmations
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.payment_records import PaymentRecords
from ticket_service.use_cases.payments import Payments
from ticket_service.use_cases.provider_sweeps import ProviderSweep, UnconfiguredSweep
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id
from ticketing.chassis.tasks import Sweepable


class HangingPayments(ExternalPayments):
    """A provider that does not answer."""

    def __init__(self) -> None:
        self.is_called = asyncio.Event()

    async def withdraw(self, _charge: Charge) -> Progress:
        self.is_called.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def context(clock: Clock) -> SaleContext:
    return SaleContext(20, new_id, clock(), timedelta(minutes=10))


@pytest.fixture
async def records(database: Database, clock: SettableClock, tmp_path: Path) -> PaymentRecords:
    keys = await SigningKeys.open(database, tmp_path / "key", clock)
    return PaymentRecords(Issuing(Codes("s" * 32), keys), lambda: context(clock))


@pytest.fixture
def new_payments(database: Database, clock: SettableClock, records: PaymentRecords) -> Callable[..., Payments]:
    """Make the use cases with some providers."""
    holds = Holds(database, records, lambda: context(clock), lambda: None)
    confirmations = Confirmations(database, records, clock, lambda: None)
    return lambda **providers: Payments(
        database, holds, confirmations, {EXTERNAL: ExternalPayments(), **providers}, clock
    )


@pytest.fixture
def held(database: Database, clock: SettableClock) -> Callable[..., object]:
    """Insert purchases whose holds end now, one for each pair of a provider and the id of its stored charge."""

    async def insert(*charges: tuple[str, str | None]) -> list[UUID]:
        now = clock()
        times = {"create_time": now, "hold_expire_time": now, "due_time": now}
        event = await database.run(lambda c: store_event(c, now=now))

        def work(connection: Connection) -> list[UUID]:
            return [hold(connection, event, provider=name, payment_id=charge, **times) for name, charge in charges]

        return await database.run(work)

    return insert


async def read(database: Database, purchase_id: UUID) -> Purchase:
    found = await database.run(lambda c: find_purchase(c, purchase_id))
    assert found is not None
    return found


async def test_a_provider_that_hangs_delays_no_other(database, new_payments, held):
    hanging = HangingPayments()
    payments = new_payments(slow=hanging, fast=ExternalPayments())
    _, purchase_id = await held(("slow", "charge-1"), ("fast", None))
    waiting = asyncio.create_task(ProviderSweep(payments, "slow").sweep())
    await hanging.is_called.wait()
    assert not await ProviderSweep(payments, "fast").sweep()
    assert (await read(database, purchase_id)).status is PurchaseStatus.EXPIRED
    assert not waiting.done()
    waiting.cancel()


async def test_ended_holds_of_a_provider_without_settings_end_unless_charged(
    database, clock, new_payments, held, caplog
):
    payments = new_payments()
    uncharged, charged = await held(("gone", None), ("gone", "charge-1"))
    with caplog.at_level(logging.ERROR):
        assert not await UnconfiguredSweep(payments).sweep()
        # The next look is some minutes away.
        assert not await UnconfiguredSweep(payments).sweep()
    assert [one.message for one in caplog.records] == ["holds end by a provider that is not configured"]
    assert (await read(database, uncharged)).status is PurchaseStatus.EXPIRED
    kept = await read(database, charged)
    assert kept.status is PurchaseStatus.HELD
    event = await database.run(lambda c: find_event(c, kept.event_id))
    assert event.reserved == 1


class ListingApp(App):
    """A ticket service that notes what its sweepers sweep."""

    def __init__(self, settings: Settings, url: URL, clock: Clock) -> None:
        super().__init__(settings, url, clock)
        self.swept: list[Sweepable] = []

    def _sweep(self, name: str, work: Sweepable) -> None:
        self.swept.append(work)
        super()._sweep(name, work)


async def test_charges_and_refunds_of_each_provider_have_a_sweeper_of_their_own(make_settings, tickets_url: URL, clock):
    app = ListingApp(make_settings(TICKETS_STRIPE_KEY="sk_test_1"), tickets_url, clock)
    await app.start()
    await app.stop()
    swept = [(type(one.work).__name__, one.provider) for one in app.swept if isinstance(one, ProviderSweep)]
    assert swept == [("Refunds", "stripe"), ("Payments", "stripe")]
    others = [type(one.work).__name__ for one in app.swept if isinstance(one, UnconfiguredSweep)]
    assert others == ["Refunds", "Payments"]
