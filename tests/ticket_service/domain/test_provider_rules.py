from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ticket_service.convert.event_input import new_event
from ticket_service.domain.event_changes import EventValues
from ticket_service.domain.events import AdmissionPolicy, Event, EventType, Offer, TicketType
from ticket_service.domain.provider_rules import (
    CurrencyRule,
    ProviderRules,
    check_prices,
    check_publication,
)
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id

RULES = ProviderRules({"EUR": CurrencyRule(1, 50, 1_000_000), "KWD": CurrencyRule(10, 10, 1_000_000)})
BY_PROVIDER = {"acme": RULES}
NOW = datetime(2030, 5, 1, tzinfo=UTC)


def event(currency: str, price: int, *offers: Offer) -> Event:
    values = {
        "name": "Concert",
        "description": "",
        "event_type": EventType.OTHER,
        "start_time": NOW + timedelta(days=9),
        "end_time": NOW + timedelta(days=10),
        "doors_open_time": None,
        "time_zone": "UTC",
        "location": "",
        "is_online": False,
        "max_participants": None,
        "currency": currency,
        "ticket_price": price,
        "offers": offers,
        "refund_tiers": (),
        "admission_policy": AdmissionPolicy.SINGLE_ENTRY,
        "image_url": "",
        "metadata": {},
    }
    return new_event(new_id(), "olga", EventValues(values), NOW)


def offer(price: int, minimum: int = 1, kind: TicketType = TicketType.VIP) -> Offer:
    return Offer(ticket_type=kind, price=price, min_per_purchase=minimum)


@pytest.mark.parametrize(
    ("currency", "amount", "field"),
    [
        ("EUR", 50, None),
        ("EUR", 49, "minor_units"),
        ("EUR", 1_000_000, None),
        ("EUR", 1_000_001, "minor_units"),
        ("KWD", 5_250, None),
        ("KWD", 5_255, "minor_units"),
        ("IQD", 5_000, "currency_code"),
    ],
)
def test_a_fault_names_the_field(currency, amount, field):
    fault = RULES.find_fault(currency, amount)
    assert (fault and fault[0]) == field


@pytest.mark.parametrize(
    ("currency", "amount", "paid", "refunded"),
    [
        # Half of 5.250 KWD, in the buyer's favour.
        ("KWD", 2_625, 5_250, 2_630),
        ("KWD", 2_630, 5_250, 2_630),
        ("KWD", 5_250, 5_250, 5_250),
        # Never more than was paid.
        ("KWD", 5_255, 5_255, 5_250),
        ("KWD", 1, 5_250, 10),
        ("KWD", 0, 5_250, 0),
        # Nothing can be refunded of it: the provider is to refuse it.
        ("KWD", 5, 5, 5),
        ("EUR", 1_667, 3_333, 1_667),
        ("IQD", 2_625, 5_250, 2_625),
    ],
)
def test_a_refund_is_rounded_up_to_at_most_what_was_paid(currency, amount, paid, refunded):
    assert RULES.refundable(currency, amount, paid) == refunded


def faults(wanted: Event, before: Event | None = None) -> list[str]:
    try:
        check_prices(wanted, before, BY_PROVIDER)
    except Failure as failure:
        return [violation.field for violation in failure.violations]
    return []


def test_every_price_that_a_provider_cannot_charge_is_named():
    assert faults(event("KWD", 5_255, offer(1_000), offer(999, kind=TicketType.GROUP))) == [
        "event.ticket_price.minor_units",
        "event.offers[1].price.minor_units",
    ]
    assert faults(event("IQD", 5_000, offer(0))) == ["event.ticket_price.currency_code"]
    assert faults(event("IQD", 0)) == []


def test_the_smallest_purchase_of_an_offer_counts():
    assert faults(event("EUR", 0, offer(25, 1))) == ["event.offers[0].price.minor_units"]
    assert faults(event("EUR", 0, offer(25, 2))) == []
    assert faults(event("EUR", 0, offer(400_000, 3))) == ["event.offers[0].price.minor_units"]
    # One ticket of the event's own price is the smallest purchase.
    assert faults(event("EUR", 600_000)) == []
    # Three tickets would be no multiple of ten.
    assert faults(event("KWD", 0, offer(5, 2))) == ["event.offers[0].price.minor_units"]


def test_a_price_that_does_not_change_is_not_checked_again():
    before = event("KWD", 5_255, offer(999))
    assert faults(replace(before, name="Recital"), before) == []
    assert faults(replace(before, offers=(offer(998),)), before) == ["event.offers[0].price.minor_units"]
    assert faults(replace(before, currency="IQD"), before) == [
        "event.ticket_price.currency_code",
        "event.offers[0].price.currency_code",
    ]


def test_publication_checks_every_price():
    with pytest.raises(Failure) as refused:
        check_publication(event("KWD", 5_250, offer(999)), BY_PROVIDER)
    assert refused.value.reason == "PRICE_NOT_CHARGEABLE"
    assert refused.value.metadata["field"] == "offers[0].price.minor_units"
    assert refused.value.metadata["provider"] == "acme"
    check_publication(event("KWD", 5_250, offer(990)), BY_PROVIDER)
    check_publication(event("KWD", 5_255), {})
