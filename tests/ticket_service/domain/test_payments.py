from datetime import timedelta

from tests.selling.rows import NOW
from ticket_service.domain.payments import MAX_POLL_INTERVAL, POLL_INTERVAL, SWEEPER_DELAY, Charge, charge_of
from ticket_service.domain.purchases import EXTERNAL, FREE, Purchase, PurchaseStatus
from ticketing.chassis.ids import new_id


def test_a_charge_is_of_the_total_by_the_methods_of_the_buyer():
    purchase = Purchase(
        purchase_id=new_id(),
        event_id=new_id(),
        user_id="alice",
        items=(),
        currency="EUR",
        total=5_000,
        status=PurchaseStatus.HELD,
        provider="stripe",
        payment_id="pi_1",
        metadata={},
        create_time=NOW,
        complete_time=None,
        payment_method="pm_card",
    )
    assert charge_of(purchase) == Charge(purchase.purchase_id, purchase.event_id, "EUR", 5_000, "pm_card", "pi_1")


def test_the_sweeper_begins_after_the_request_and_asks_ever_less_often():
    assert timedelta(seconds=5) == SWEEPER_DELAY
    assert (timedelta(seconds=30), timedelta(minutes=15)) == (POLL_INTERVAL, MAX_POLL_INTERVAL)


def test_stored_names_of_providers_never_change():
    assert (FREE, EXTERNAL) == ("free", "external")
