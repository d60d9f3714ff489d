"""Decide which times an organizer may set for an event.

A mistyped date would end a sold event at once, or keep it on sale for centuries. Nobody could use a ticket then, or
cancel it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from ticket_service.domain.events import Event, EventStatus, Offer
from ticket_service.domain.refusals import event_not_changeable
from ticketing.chassis.failures import FieldViolation, invalid_fields

# Ten years, as far ahead as a refund policy reaches.
MAX_AHEAD: Final = timedelta(days=3_653)
# A larger distance is a mistyped month, or doors that were forgotten when the event moved: gates would open too early.
MAX_DOORS_BEFORE_START: Final = timedelta(days=7)
HOURS: Final = ("start_time", "end_time", "doors_open_time")
# The fields by which an ended event is corrected.
CORRECTABLE: Final = frozenset({*HOURS, "time_zone"})


def correctable_until(event: Event, correction: timedelta) -> datetime:
    """Return the time until which an ended event can be corrected or cancelled.

    The last change counts as well: a version before this one accepted an end that was long past.
    """
    return max(event.end_time, event.update_time) + correction


def check_new_times(event: Event, now: datetime) -> None:
    """Raise INVALID_ARGUMENT for a new event with times that can only be mistyped."""
    _refuse(_violations(None, event, now))


def check_changed_times(before: Event, after: Event, now: datetime) -> None:
    """Check the times of an event that a change sets; times that stay are not checked.

    Raises:
        Failure: INVALID_ARGUMENT for times that can only be mistyped; EVENT_NOT_CHANGEABLE for times that would end or
            start the event in the past while places are reserved, and for hours outside the validity of a sold offer.
    """
    _refuse(_violations(before, after, now))
    if before.reserved == 0 or before.status is not EventStatus.PUBLISHED:
        return
    if after.end_time != before.end_time and after.end_time <= now:
        raise event_not_changeable(before, "end_time", "it is past, and tickets are held or sold")
    if after.start_time != before.start_time and after.start_time <= now < before.start_time:
        raise event_not_changeable(before, "start_time", "it is past, and tickets are held or sold")
    for offer in after.offers:
        if offer.reserved and _is_outside(offer, after) and not _is_outside(offer, before):
            field = "start_time" if after.start_time != before.start_time else "end_time"
            raise event_not_changeable(before, field, f"sold {offer.ticket_type} tickets are valid at other times only")


def _violations(before: Event | None, after: Event, now: datetime) -> Iterator[FieldViolation]:
    for name in ("start_time", "end_time"):
        if _is_changed(before, after, name) and getattr(after, name) > now + MAX_AHEAD:
            yield FieldViolation(f"event.{name}", "is more than ten years ahead")
    if _is_changed(before, after, "start_time", "doors_open_time") and (
        after.start_time - after.admits_from > MAX_DOORS_BEFORE_START
    ):
        yield FieldViolation("event.doors_open_time", "is more than 7 days before start_time")
    for index, offer in enumerate(after.offers):
        stored = before.offer(offer.ticket_type) if before else None
        if not offer.reserved and (offer != stored or _is_changed(before, after, *HOURS)):
            for name, description in _faults(offer, stored, after, now):
                yield FieldViolation(f"event.offers[{index}].{name}", description)


def _faults(offer: Offer, stored: Offer | None, event: Event, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the names of an unsold offer's times that nobody can mean, each with its description."""
    starts, ends = offer.valid_from_time, offer.valid_until_time
    if offer.sales_start_time is not None and offer.sales_start_time >= event.end_time:
        yield "sales_start_time", "is not before the event's end_time"
    if starts is not None and starts >= event.end_time:
        yield "valid_from_time", "is not before the event's end_time"
    if ends is None:
        return
    if ends <= event.admits_from:
        yield "valid_until_time", "is not after the time when the event's doors open"
    elif ends > now + MAX_AHEAD:
        yield "valid_until_time", "is more than ten years ahead"
    elif ends <= now < event.end_time and (stored is None or ends != stored.valid_until_time):
        yield "valid_until_time", "has passed"


def _is_changed(before: Event | None, after: Event, *names: str) -> bool:
    return before is None or any(getattr(before, name) != getattr(after, name) for name in names)


def _is_outside(offer: Offer, event: Event) -> bool:
    """Return whether the validity of an offer has no common time with the event."""
    starts, ends = offer.valid_from_time, offer.valid_until_time
    return (ends is not None and ends <= event.admits_from) or (starts is not None and starts >= event.end_time)


def _refuse(violations: Iterable[FieldViolation]) -> None:
    found = list(violations)
    if found:
        raise invalid_fields(found)
