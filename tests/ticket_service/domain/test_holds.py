from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event
from ticket_service.domain.events import TicketType
from ticket_service.domain.holds import apply_progress, expire, has_other_charge
from ticket_service.domain.payments import MAX_POLL_INTERVAL, POLL_INTERVAL, ChargeState, Progress
from ticket_service.domain.purchases import Item, Purchase, PurchaseStatus
from ticket_service.domain.sales import Inventory
from ticketing.chassis.ids import new_id

EVENT = make_event(reserved=1)
HELD = Purchase(
    purchase_id=new_id(),
    event_id=EVENT.event_id,
    user_id="alice",
    items=(Item(TicketType.STANDARD, 1, 2_500),),
    currency="EUR",
    total=2_500,
    status=PurchaseStatus.HELD,
    provider="stripe",
    payment_id="pi_1",
    metadata={},
    create_time=NOW,
    complete_time=None,
    hold_expire_time=NOW,
    due_time=NOW,
)


@pytest.mark.parametrize("state", [ChargeState.CREATED, ChargeState.WAITING, ChargeState.WITHDRAWN])
def test_a_report_of_another_charge_changes_nothing(state: ChargeState) -> None:
    inventory = Inventory(EVENT)
    for reported in (None, "pi_2"):
        assert apply_progress(HELD, Progress(state, reported), inventory, NOW) is HELD
    assert inventory.reserved == 1


def test_a_purchase_with_a_charge_is_not_released_without_its_withdrawal() -> None:
    inventory = Inventory(EVENT)
    for withdrawn in (None, "pi_2"):
        assert has_other_charge(HELD, replace(HELD, payment_id=withdrawn))
    assert not has_other_charge(HELD, HELD)
    assert not has_other_charge(replace(HELD, payment_id=None), HELD)
    assert expire([HELD], inventory, NOW) == []
    assert inventory.reserved == 1


@pytest.mark.parametrize(
    "overdue", [timedelta(0), timedelta(seconds=1), timedelta(minutes=10), timedelta(days=1), timedelta(days=90)]
)
def test_a_charge_in_progress_is_looked_at_later_than_now(overdue: timedelta) -> None:
    now = NOW + overdue
    after = apply_progress(HELD, Progress(ChargeState.WAITING, "pi_1"), Inventory(EVENT), now)
    assert after.due_time is not None
    assert POLL_INTERVAL <= after.due_time - now <= MAX_POLL_INTERVAL * 1.25


def test_the_wait_after_the_hold_grows() -> None:
    def wait(overdue: timedelta) -> timedelta:
        now = NOW + overdue
        after = apply_progress(HELD, Progress(ChargeState.WAITING, "pi_1"), Inventory(EVENT), now)
        assert after.due_time is not None
        return after.due_time - now

    assert wait(timedelta(0)) < wait(timedelta(minutes=10)) < wait(timedelta(hours=2))
    assert wait(timedelta(hours=2)) == wait(timedelta(days=2))
