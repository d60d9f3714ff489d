"""Decide which refund a ticket's buyer is owed when the organizer changes the event after the sale.

The terms at purchase stay in force: a cancellation gets the better of them and the present terms. A move of the event
gives everybody who bought before the right to a full refund for some time. Terms that an event no longer has are kept
with the last version of the event that had them, and a purchase stores the version at which it was made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from ticket_service.domain.events import Event, RefundTier
from ticket_service.domain.refund_policy import Refund, RefundBasis, in_full, refund


@dataclass(frozen=True, slots=True)
class Terms:
    """The fields of an event on which refunds depend."""

    # Empty: the default policy applies.
    refund_tiers: tuple[RefundTier, ...]
    start_time: datetime
    end_time: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class PastTerms:
    """Terms that an event no longer has."""

    event_id: UUID
    # The last version of the event with these terms.
    version: int
    terms: Terms
    # The time of the change that replaced the terms.
    replace_time: datetime
    # The change was a move: until this time, a ticket bought before is refunded in full. None: it was no move.
    full_refund_until: datetime | None

    def replaced_after(self, event_version: int | None, purchase_time: datetime) -> bool:
        """Return whether the terms were in force at a purchase or later.

        The version decides, because the clocks of two processes differ. A purchase of a process of an older version has
        none.
        """
        return self.replace_time > purchase_time if event_version is None else self.version >= event_version


@dataclass(frozen=True, slots=True)
class MoveRules:
    """The settings that decide which change of an event's times gives the right to a full refund, and for how long."""

    # A shift of the times up to this bound gives no right.
    bound: timedelta
    # The time after the move in which the right lasts, at most until the event starts.
    right: timedelta


def terms_of(event: Event) -> Terms:
    """Return the present terms of an event."""
    return Terms(event.refund_tiers, event.start_time, event.end_time, event.time_zone)


def replace_terms(
    before: Event, after: Event, past: Sequence[PastTerms], rules: MoveRules, now: datetime
) -> PastTerms | None:
    """Return the terms that a change of an event replaces, or None if the terms stay.

    `past` are the terms that earlier changes replaced, oldest first.
    """
    if terms_of(before) == terms_of(after):
        return None
    until = min(now + rules.right, after.start_time)
    is_move = any(_is_moved(terms, after, rules.bound) for terms in _since_last_move(before, past))
    return PastTerms(before.event_id, before.version, terms_of(before), now, until if is_move and until > now else None)


def full_refund_until(event: Event, past: Sequence[PastTerms]) -> datetime | None:
    """Return the time until which a ticket is refunded in full because the event was moved; None: it was not moved.

    `past` are the terms that were replaced after the ticket was bought.
    """
    rights = [terms.full_refund_until for terms in past if terms.full_refund_until is not None]
    return min(max(rights), event.start_time) if rights else None


def refund_owed(price: int, event: Event, past: Sequence[PastTerms], now: datetime) -> Refund:
    """Return the refund for a ticket cancelled now.

    It is the best of both policies, at purchase and now, each counted to both starts, at purchase and now: a buyer who
    bought "100 % until 7 days before" keeps it for the new date of a postponed event.

    Args:
        price: the price of the ticket, in minor units.
        event: the event as it is now.
        past: the terms that were replaced after the ticket was bought, oldest first.
        now: the time of the cancellation.
    """
    until = full_refund_until(event, past)
    if until is not None and now < until:
        return in_full(price, RefundBasis.EVENT_MOVED)
    if not past:
        # Nearly all tickets; the loop below takes three times as long.
        return refund(price, event.refund_tiers, event.start_time, event.time_zone, now)
    present = terms_of(event)
    either = [present, *(terms.terms for terms in past[:1])]
    refunds = [
        replace(
            refund(price, policy.refund_tiers, start.start_time, start.time_zone, now),
            basis=RefundBasis.PRESENT_TERMS if policy is start is present else RefundBasis.TERMS_AT_PURCHASE,
        )
        for policy in either
        for start in either
    ]
    # Of equal refunds the first is taken: that of the present terms.
    return max(refunds, key=lambda one: (one.amount, one.percent))


def _since_last_move(before: Event, past: Sequence[PastTerms]) -> Iterator[Terms]:
    """Yield the terms since the last move, so that several small shifts add up to a move."""
    yield terms_of(before)
    for terms in reversed(past):
        if terms.full_refund_until is not None:
            return
        yield terms.terms


def _is_moved(terms: Terms, after: Event, bound: timedelta) -> bool:
    return abs(after.start_time - terms.start_time) > bound or terms.end_time - after.end_time > bound
