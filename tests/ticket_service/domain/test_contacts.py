"""Corrections of addresses are bounded, so that nobody sends mails to strangers."""

from datetime import timedelta

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.contacts import MAX_BY_USER, MAX_OF_PURCHASE, check_rate
from ticketing.chassis.failures import Failure

HOUR = timedelta(hours=1)


def test_a_purchase_has_five_corrections_a_day_and_a_user_twenty():
    assert (MAX_OF_PURCHASE, MAX_BY_USER) == (5, 20)


def test_corrections_below_the_bound_are_made():
    check_rate([], 3, NOW)
    check_rate([NOW - 2 * HOUR, NOW - HOUR], 3, NOW)


@pytest.mark.parametrize(
    ("ages", "wait"),
    [
        # The next one is possible once the oldest of the last three is a day old.
        ([20 * HOUR, 5 * HOUR, HOUR], 4 * HOUR),
        ([23 * HOUR, 20 * HOUR, 5 * HOUR, HOUR], 4 * HOUR),
        ([24 * HOUR - timedelta(milliseconds=1), HOUR, HOUR], timedelta(seconds=1)),
    ],
)
def test_a_further_correction_has_to_wait(ages, wait):
    with pytest.raises(Failure) as caught:
        check_rate([NOW - age for age in ages], 3, NOW)
    assert (caught.value.reason, caught.value.retry_after) == ("EMAIL_LIMIT", wait)
    assert caught.value.metadata == {"max": "3", "within_seconds": "86400"}
