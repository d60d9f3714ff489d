"""Decide how much of a ticket's price is refunded, by how early the ticket is cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ticket_service.domain.events import DEFAULT_REFUND_TIERS, RefundTier
from ticket_service.domain.zones import zone_of

FULL_PERCENT: Final = 100


class RefundBasis(StrEnum):
    """The reason for the amount of a refund."""

    PRESENT_TERMS = "PRESENT_TERMS"
    TERMS_AT_PURCHASE = "TERMS_AT_PURCHASE"
    EVENT_MOVED = "EVENT_MOVED"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    CALLER = "CALLER"


@dataclass(frozen=True, slots=True)
class Refund:
    """A share of a price, in minor units."""

    amount: int
    percent: int
    basis: RefundBasis = RefundBasis.PRESENT_TERMS


def refund(price: int, tiers: Sequence[RefundTier], start_time: datetime, time_zone: str, now: datetime) -> Refund:
    """Return the refund that the policy grants for a ticket cancelled now; no tiers mean the default policy.

    The tier with the largest days_before that is still met applies.
    """
    days = days_before(start_time, time_zone, now)
    met = [tier for tier in tiers or DEFAULT_REFUND_TIERS if tier.days_before <= days]
    percent = max(met, key=lambda tier: tier.days_before).percent if met else 0
    return Refund(share(price, percent), percent)


def days_before(start_time: datetime, time_zone: str, now: datetime) -> int:
    """Count the days from now to the start by the calendar of the event's time zone; -1 after the start.

    Days are dates, not blocks of 24 hours: a person reads "7 days before" from a calendar, and a clock change makes a
    week an hour shorter or longer.
    """
    if now > start_time:
        return -1
    zone = zone_of(time_zone, start_time, now)
    return (start_time.astimezone(zone).date() - now.astimezone(zone).date()).days


def in_full(price: int, basis: RefundBasis = RefundBasis.EVENT_CANCELLED) -> Refund:
    """Return the refund of the whole price, by default for a cancelled event."""
    return Refund(price, FULL_PERCENT, basis)


def share(price: int, percent: int) -> int:
    """Return a percentage of a price; half a minor unit is rounded up."""
    return (price * percent + 50) // 100
