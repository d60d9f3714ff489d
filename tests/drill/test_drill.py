"""Drills of restores, and the guards without which a drill finds violations."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest
from sqlalchemy.engine import URL

from tests.drill.drill import Drill, Result
from tests.drill.expected import order_of
from tests.drill.promotion import PromotionDrill
from tests.drill.site import SECONDS, TICKETS
from tests.environment.access import Issuer
from tests.environment.waiting import eventually
from ticketing.chassis.clock import system_clock
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.ids import new_id

# On a busy machine a drill takes minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# A seed that restores both databases. `make drill` runs more seeds, and every guard.
SEEDS = (2,)
RUNS_ALL = os.environ.get("DRILL_GUARDS") == "all"
ONLY_TICKETS, ONLY_SCANS, BOTH = 0, 1, 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restore_breaks_no_promise(templates: Callable[[str], URL], issuer: Issuer, tmp_path: Path, seed: int):
    result = Drill(templates, issuer, tmp_path, seed).run()
    assert result.violations == []


@pytest.mark.skipif(not RUNS_ALL, reason="a drill of a minute: `make drill` runs it")
def test_a_promotion_that_loses_commits_breaks_no_promise(
    templates: Callable[[str], URL], issuer: Issuer, tmp_path: Path
):
    assert PromotionDrill(templates, issuer, tmp_path, ONLY_TICKETS).run().violations == []


class RunDrill(Protocol):
    """A function that runs a short drill."""

    def __call__(self, seed: int, kind: "type[ShortDrill]" = ...) -> Result: ...


class ShortDrill(Drill):
    """A drill of one buyer and one gate, whose outcome depends on one guard."""

    runs_here = True

    def operate(self) -> None:
        """Back up, then admit, cancel and revoke what the restored databases lack."""
        history = self.history
        event_id = next(one.event_id for one in history.world.events.values() if one.price)
        bought: list[Any] = []
        while len(bought) < 2:
            history.sales.buy()
            world = history.world
            bought = [
                one
                for one in world.tickets.values()
                if one.event_id == event_id and world.purchases[one.purchase_id].how == "card"
            ]
        history.callers.settle()
        for name in self.result.restored:
            self.back_up(name)
        history.events.rename(event_id, "Another concert")
        admitted, cancelled = bought[:2]
        stolen, lane = [one for one in history.doors.lanes if one.event_id == event_id][:2]
        history.doors.show(stolen, admitted, admitted.tokens[-1])
        free = next(one for one in history.world.tickets.values() if one.event_id != event_id)
        history.doors.show(
            next(one for one in history.doors.lanes if one.event_id == free.event_id), free, free.tokens[-1]
        )
        history.tickets.cancel_ticket(cancelled)
        assert lane is not stolen
        history.doors.revoke_device(stolen)
        history.callers.settle()
        # A refund is made after its cancellation. Without this wait a fast machine stops the services before it,
        # and the provider has no refund that a recovery could miss.
        eventually(self._is_refunded, seconds=SECONDS)

    def _is_refunded(self) -> bool:
        world = self.history.world
        by_card = [one for one in world.tickets.values() if world.purchases[one.purchase_id].how == "card"]
        cancelled = {one.cancellation_id for one in by_card if one.cancellation_id}
        refunded = {order_of(one) for one in self.site.stripe.refunds if one["status"] == "succeeded"}
        return bool(cancelled) and cancelled <= refunded


class InterruptedDrill(ShortDrill):
    """A drill whose recovery stops in its middle, beside the service, after it has restored the end of an event."""

    def operate(self) -> None:
        """Back up, then admit one ticket of a purchase, cancel the other one, and cancel the event."""
        history = self.history
        event_id = next(one.event_id for one in history.world.events.values() if one.price)
        history.sales.buy_at(event_id, 2, "card")
        purchase_id = list(history.world.purchases)[-1]
        history.callers.settle()
        for name in self.result.restored:
            self.back_up(name)
        admitted, cancelled = (one for one in history.world.tickets.values() if one.purchase_id == purchase_id)
        lane = next(one for one in history.doors.lanes if one.event_id == event_id)
        history.doors.show(lane, admitted, admitted.tokens[-1])
        history.tickets.cancel_ticket(cancelled)
        history.events.cancel(event_id)
        eventually(self._is_refunded, seconds=SECONDS)

    def recover_tickets(self) -> None:
        """Interrupt the recovery before it has restored the tickets, and leave time for the sweepers of the service."""
        outage = mock.AsyncMock(side_effect=dependency_unavailable("scan service"))
        with mock.patch("ticket_service.use_cases.recovery.Recoveries.restore_tickets", outage):
            status, _ = self.command(TICKETS, "recover", "--json")
        assert status == 1
        self.site.start(TICKETS)
        self.site.await_sweep("event_cancellations")
        super().recover_tickets()


@pytest.fixture
def short_drill(templates: Callable[[str], URL], issuer: Issuer, tmp_path: Path) -> RunDrill:
    """Run a short drill; return its outcome without what its history is too small for."""

    def run(seed: int, kind: type[ShortDrill] = ShortDrill) -> Result:
        result = kind(templates, issuer, tmp_path, seed).run()
        result.violations = [one for one in result.violations if "too small" not in one]
        return result

    return run


def other_order(*_: object) -> tuple[None, Any]:
    """Return another order than that by which the provider has the refund."""
    return None, mock.Mock(revocation_id=new_id(), create_time=system_clock())


# The guard that is removed, what replaces it, the databases that are restored, and a part of the violation.
GUARDS: dict[str, tuple[str, Any, int, str]] = {
    "gates send their scans again": (
        "ticketing.gate.store.Store.queue_kept",
        lambda *_: None,
        ONLY_SCANS,
        "an admission is lost",
    ),
    "check-ins are taken back": (
        "scan_service.use_cases.recoveries.Recoveries._take_back_check_ins",
        mock.AsyncMock(return_value=False),
        ONLY_SCANS,
        "although it was admitted",
    ),
    "revoked devices are taken back": (
        "scan_service.store.device_reports.take_back",
        lambda *_: (0, 0),
        ONLY_SCANS,
        "was reported, and did not come back",
    ),
    "a restored cancellation keeps its refund": (
        "ticket_service.use_cases.recovery_tickets._refund_of",
        other_order,
        ONLY_TICKETS,
        "REFUND_WITHOUT_CANCELLATION",
    ),
    "the replicas are filled anew": (
        "ticket_service.store.recoveries.renew_epoch",
        lambda *_: None,
        ONLY_TICKETS,
        "the gates have Another concert of event",
    ),
}


# Each drill takes seconds: `make test` removes one guard of each database.
SOME_GUARDS = ("gates send their scans again", "a restored cancellation keeps its refund")


# While a recovery is open, sweepers pause, and the database refuses every change.
PAUSE = "ticket_service.use_cases.recovery_guard.RecoveryGuard.refusal"


@pytest.mark.skipif(not RUNS_ALL, reason="a drill of a quarter of a minute: `make drill` runs it")
def test_sweepers_beside_an_interrupted_recovery_change_nothing(short_drill: RunDrill):
    assert short_drill(ONLY_TICKETS, InterruptedDrill).violations == []


@pytest.mark.skipif(not RUNS_ALL, reason="a drill of a quarter of a minute: `make drill` runs it")
def test_a_drill_fails_where_sweepers_go_on(short_drill: RunDrill):
    with mock.patch(PAUSE, return_value=None):
        violations = short_drill(ONLY_TICKETS, InterruptedDrill).violations
    # The sweeper has cancelled the tickets again, under other ids: their shop is asked for the refund a second time.
    assert any("not printed: CANCELLATION_RESTORED" in one for one in violations), violations


@pytest.mark.parametrize("restored", [BOTH] if RUNS_ALL else [ONLY_TICKETS])
def test_the_short_drill_finds_nothing_while_every_guard_stands(short_drill: RunDrill, restored: int):
    assert short_drill(restored).violations == []


@pytest.mark.parametrize("guard", GUARDS if RUNS_ALL else SOME_GUARDS)
def test_a_drill_fails_without_a_guard(guard: str, short_drill: RunDrill):
    name, replacement, restored, violation = GUARDS[guard]
    with mock.patch(name, replacement):
        violations = short_drill(restored).violations
    assert any(violation in one for one in violations), violations
