"""Changes count by their notifications, and money in whole units of its currency."""

import pytest
from prometheus_client import REGISTRY

from ticket_service.domain.notifications import Kind, Notification, money_data
from ticket_service.store.sale_counters import count_changes, units
from ticketing.chassis.ids import new_id


@pytest.mark.parametrize(
    ("currency", "minor_units", "amount"), [("EUR", 2_550, 25.5), ("JPY", 2_550, 2_550), ("KWD", 2_550, 2.55)]
)
def test_an_amount_is_shown_in_whole_units(currency: str, minor_units: int, amount: float) -> None:
    assert units(currency, minor_units) == amount


def values(currency: str) -> dict[str, float]:
    series = {
        "completed": ("purchases_total", {"status": "COMPLETED"}),
        "expired": ("purchases_total", {"status": "EXPIRED"}),
        "sold": ("tickets_sold_total", {"currency": currency}),
        "sales": ("sales_amount_total", {"currency": currency}),
        "cancelled": ("tickets_cancelled_total", {"currency": currency}),
        "made": ("refunds_total", {"outcome": "made"}),
        "failed": ("refunds_total", {"outcome": "failed"}),
        "recorded": ("refunds_total", {"outcome": "recorded"}),
        "refunded": ("refunded_amount_total", {"currency": currency}),
        "disputes": ("disputes_opened_total", {"currency": currency}),
    }
    return {
        name: REGISTRY.get_sample_value(f"ticketing_{metric}", labels) or 0.0
        for name, (metric, labels) in series.items()
    }


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        (Kind.PURCHASE_COMPLETED, {"completed": 1, "sold": 2, "sales": 30}),
        (Kind.HOLD_EXPIRED, {"expired": 1}),
        (Kind.TICKET_CANCELLED, {"cancelled": 1}),
        (Kind.REFUND_REQUESTED, {}),
        (Kind.REFUND_MADE, {"made": 1, "refunded": 30}),
        (Kind.REFUND_FAILED, {"failed": 1}),
        (Kind.REFUND_RECORDED, {"recorded": 1, "refunded": 30}),
        (Kind.DISPUTE_OPENED, {"disputes": 1}),
        (Kind.TICKET_CHECKED_IN, {}),
    ],
)
def test_a_change_counts_by_its_notification(kind: Kind, counted: dict[str, float]) -> None:
    before = values("NOK")
    data = {"ticket_ids": ["a", "b"], **money_data("NOK", 3_000)}
    count_changes([Notification(new_id(), kind, data=data)])
    assert {name: value - before[name] for name, value in values("NOK").items() if value != before[name]} == counted
