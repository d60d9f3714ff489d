"""What organizers may do to an event: publish it, change it, call it off. Pure: an event in, what it becomes out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import event_ended, illegal_transition
from ticketing.chassis.failures import Failure

# Gates judge by these; a change of one takes a revision.
KNOWN_TO_GATES: Final = ("name", "status", "admission_policy", "start_time", "end_time", "doors_open_time")
# What a buyer was promised; the rest of an offer says how selling goes on.
PROMISED: Final = ("price", "valid_from_time", "valid_until_time")


def published(event: Event, now: datetime) -> Event:
    """Return the event as it is once published; one that is published already stays as it is."""
    status = event.status_at(now)
    if event.status is EventStatus.DRAFT:
        if now >= event.end_time:
            raise event_ended(event)
        return _next(event, replace(event, status=EventStatus.PUBLISHED), now)
    if status is EventStatus.PUBLISHED:
        return event
    raise illegal_transition(status, EventStatus.PUBLISHED)


def cancelled(event: Event, now: datetime) -> Event:
    """Return the event as it is once called off; one that is called off already stays as it is.

    Raises:
        Failure: ILLEGAL_TRANSITION where it is over.
    """
    if event.status is EventStatus.CANCELLED:
        return event
    status = event.status_at(now)
    if status is EventStatus.COMPLETED:
        raise illegal_transition(status, EventStatus.CANCELLED)
    return _next(event, replace(event, status=EventStatus.CANCELLED), now)


def changed(event: Event, wanted: Event, sold: Mapping[TicketType, int], now: datetime) -> Event:
    """Return the event as it is once it follows `wanted` in everything that organizers set.

    Args:
        event: as stored.
        wanted: its name, times, offers and the like as they are to be.
        sold: the tickets that take up a place, of every type that was ever sold.
        now: the present time.

    Raises:
        Failure: CAPACITY_BELOW_RESERVED or EVENT_NOT_CHANGEABLE.
    """
    if sold and wanted.currency != event.currency:
        raise _not_changeable(event, "ticket_price.currency_code", "tickets were sold in its currency")
    offers = _offers(event, wanted.offers, sold)
    if wanted.max_participants is not None and wanted.max_participants < event.reserved:
        raise Failure(
            Reason.CAPACITY_BELOW_RESERVED,
            f"{event.reserved} tickets are held or sold",
            event_id=event.event_id,
            reserved=event.reserved,
        )
    result = replace(
        wanted,
        event_id=event.event_id,
        organizer_id=event.organizer_id,
        status=event.status,
        reserved=event.reserved,
        offers=offers,
        create_time=event.create_time,
        update_time=event.update_time,
        revision=event.revision,
        changed_revision=event.changed_revision,
        version=event.version,
    )
    return event if result == event else _next(event, result, now)


def check_changeable(event: Event, fields: Sequence[str], now: datetime) -> None:
    """Refuse every change of an event that is called off or over.

    Args:
        event: as stored.
        fields: what is to be changed.
        now: the present time.
    """
    status = event.status_at(now)
    if status in {EventStatus.CANCELLED, EventStatus.COMPLETED}:
        raise _not_changeable(event, fields[0], f"the event is {status}")


def _offers(event: Event, wanted: Sequence[Offer], sold: Mapping[TicketType, int]) -> tuple[Offer, ...]:
    """Return the wanted offers with what is reserved of each."""
    kept = {offer.ticket_type for offer in wanted}
    for offer in event.offers:
        if offer.reserved and offer.ticket_type not in kept:
            raise _not_changeable(event, "offers", f"{offer.ticket_type} tickets are held or sold")
    return tuple(_offer(event, offer, sold) for offer in wanted)


def _offer(event: Event, wanted: Offer, sold: Mapping[TicketType, int]) -> Offer:
    before = event.offer(wanted.ticket_type)
    # A type may have been sold at the event's price before it got an offer of its own.
    reserved = before.reserved if before else sold.get(wanted.ticket_type, 0)
    if before and before.reserved and any(getattr(before, name) != getattr(wanted, name) for name in PROMISED):
        raise _not_changeable(event, "offers", f"{wanted.ticket_type} tickets are held or sold")
    if wanted.capacity is not None and wanted.capacity < reserved:
        raise Failure(
            Reason.CAPACITY_BELOW_RESERVED,
            f"{reserved} {wanted.ticket_type} tickets are held or sold",
            event_id=event.event_id,
            ticket_type=wanted.ticket_type,
            reserved=reserved,
        )
    return replace(wanted, reserved=reserved)


def _next(before: Event, after: Event, now: datetime) -> Event:
    after = replace(after, version=before.version + 1, update_time=now)
    if any(getattr(before, name) != getattr(after, name) for name in KNOWN_TO_GATES):
        revision = before.revision + 1
        return replace(after, revision=revision, changed_revision=revision)
    return after


def _not_changeable(event: Event, field: str, why: str) -> Failure:
    return Failure(Reason.EVENT_NOT_CHANGEABLE, f"{field} cannot change: {why}", event_id=event.event_id, field=field)
