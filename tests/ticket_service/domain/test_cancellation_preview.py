"""The preview of a cancellation contains each ticket once, under what happens to it and to its money."""

from dataclasses import replace

import pytest

from ticket_service.domain.cancellation_preview import (
    PreviewLine,
    TicketGroup,
    TicketOutcome,
    outcome_of,
    preview_lines,
)

PAID = TicketGroup(
    is_cancelled=False,
    is_checked_in=False,
    is_free=False,
    provider="stripe",
    currency="EUR",
    tickets=3,
    paid=7_500,
    left=7_000,
)
CONFIGURED = {"stripe"}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, TicketOutcome.REFUNDED),
        ({"provider": "external"}, TicketOutcome.REFUND_REQUESTED),
        ({"provider": "paypal"}, TicketOutcome.PROVIDER_NOT_CONFIGURED),
        ({"is_free": True}, TicketOutcome.FREE),
        ({"is_checked_in": True}, TicketOutcome.CHECKED_IN),
        ({"is_cancelled": True}, TicketOutcome.ALREADY_CANCELLED),
        # A person who is inside stays inside, with a free ticket too.
        ({"is_checked_in": True, "is_free": True}, TicketOutcome.CHECKED_IN),
        ({"is_cancelled": True, "is_checked_in": True, "is_free": True}, TicketOutcome.ALREADY_CANCELLED),
        ({"provider": "external", "is_free": True}, TicketOutcome.FREE),
    ],
)
def test_each_ticket_has_one_outcome(changes, outcome):
    assert outcome_of(replace(PAID, **changes), CONFIGURED) is outcome


def line(outcome: TicketOutcome, **changes: object) -> PreviewLine:
    usual = PreviewLine(outcome, "stripe", "EUR", tickets=3, paid=7_500, left=7_000)
    return replace(usual, **changes)  # type: ignore[arg-type] # the fields have different types


@pytest.mark.parametrize("outcome", TicketOutcome)
def test_money_is_refunded_only_for_tickets_that_get_cancelled(outcome):
    none = {TicketOutcome.FREE, TicketOutcome.CHECKED_IN, TicketOutcome.ALREADY_CANCELLED}
    assert line(outcome).refund == (0 if outcome in none else 7_000)


def test_groups_with_one_outcome_are_one_line():
    used = replace(PAID, is_checked_in=True, tickets=2, paid=5_000, left=4_000)
    used_free = replace(used, is_free=True, tickets=10, paid=0, left=0)
    assert preview_lines([PAID, used, used_free, PAID], CONFIGURED) == [
        line(TicketOutcome.REFUNDED, tickets=6, paid=15_000, left=14_000),
        line(TicketOutcome.CHECKED_IN, tickets=12, paid=5_000, left=4_000),
    ]


def test_other_currencies_and_providers_are_lines_of_their_own():
    external = replace(PAID, provider="external")
    francs = [replace(PAID, currency="CHF", provider=provider) for provider in ("stripe", "adyen")]
    lines = preview_lines([external, PAID, *francs], {"stripe", "adyen"})
    assert [(one.outcome, one.currency, one.provider) for one in lines] == [
        (TicketOutcome.REFUNDED, "CHF", "adyen"),
        (TicketOutcome.REFUNDED, "CHF", "stripe"),
        (TicketOutcome.REFUNDED, "EUR", "stripe"),
        (TicketOutcome.REFUND_REQUESTED, "EUR", "external"),
    ]
    assert all(one.tickets == 3 for one in lines)


def test_an_event_without_tickets_has_no_lines():
    assert preview_lines([], CONFIGURED) == []
