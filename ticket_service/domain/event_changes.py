"""Decide how an event changes when its organizer publishes, changes or cancels it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ticket_service.domain.access import organizer_of
from ticket_service.domain.event_times import CORRECTABLE, correctable_until
from ticket_service.domain.events import Event, EventStatus, Offer, TicketType
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import event_ended, event_not_changeable, illegal_transition
from ticket_service.domain.terms import MoveRules
from ticketing.chassis.callers import Caller
from ticketing.chassis.failures import FORBIDDEN, Failure, FieldViolation, invalid_fields

# Gates decide by these fields, so a change of one takes a revision.
GATE_FIELDS: Final = (
    "name",
    "status",
    "admission_policy",
    "start_time",
    "end_time",
    "doors_open_time",
    "time_zone",
    "day_change_hour",
)
# The fields that an operator may change at the events of others: those of a move, and the capacity, by which a sale
# stops. Prices, refund terms and what gates may look up are the organizer's.
OPERATOR_FIELDS: Final = frozenset(
    {"start_time", "end_time", "doors_open_time", "time_zone", "location", "is_online", "max_participants"}
)
_UPDATE: Final = "/ticketing.tickets.v1.EventService/UpdateEvent"
# The fields of an offer that a buyer has paid for; the others only govern further sales.
PROMISED: Final = ("price", "valid_from_time", "valid_until_time")


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """The settings that decide which changes of an event are possible, and which effect they have."""

    # The time after the end of an event in which its times can be corrected, or the event cancelled.
    correction: timedelta
    moves: MoveRules
    # The folder with the logos of printed tickets; None: no event may have a logo of its own.
    logos: Path | None = None


@dataclass(frozen=True, slots=True)
class EventValues:
    """The values of those fields of an event that its organizer sets."""

    # The keys are attributes of `Event`.
    attributes: Mapping[str, Any]
    # The currency of each offer's price, in order; None where the offer has no price.
    offer_currencies: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class EventChange:
    """A request of an organizer or an operator to change one event."""

    event_id: UUID
    # The version that the caller read; "" for any.
    etag: str
    # The update mask, in its order.
    paths: tuple[str, ...]
    values: EventValues


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field of an event that contradicts another field."""

    # The path in the request, such as `event.end_time`.
    path: str
    description: str
    # The paths of the compared values; a value that could not be read proves no conflict.
    compared: tuple[str, ...] = ()


def find_conflicts(values: EventValues) -> Iterator[FieldConflict]:
    """Yield the conflicts among those values that are present."""
    given = values.attributes
    start, end, doors = given.get("start_time"), given.get("end_time"), given.get("doors_open_time")
    if start is not None and end is not None and end <= start:
        compared = ("event.end_time", "event.start_time")
        yield FieldConflict("event.end_time", "is not after start_time", compared)
    if start is not None and doors is not None and doors > start:
        compared = ("event.doors_open_time", "event.start_time")
        yield FieldConflict("event.doors_open_time", "is after start_time", compared)
    if "currency" in given:
        for index, currency in enumerate(values.offer_currencies):
            if currency is not None and currency != given["currency"]:
                path = f"event.offers[{index}].price.currency_code"
                yield FieldConflict(path, "is not the currency of the event's ticket_price")


def merge_values(event: Event, values: EventValues) -> Event:
    """Return the event with these values in place of its own.

    Raises:
        Failure: INVALID_ARGUMENT if a value contradicts a stored value.
    """
    merged = replace(event, **values.attributes)
    currencies = values.offer_currencies if "offers" in values.attributes else (event.currency,) * len(event.offers)
    compared = ("start_time", "end_time", "doors_open_time", "currency")
    whole = EventValues({name: getattr(merged, name) for name in compared}, currencies)
    conflicts = [FieldViolation(conflict.path, conflict.description) for conflict in find_conflicts(whole)]
    if conflicts:
        raise invalid_fields(conflicts)
    return merged


def check_permitted(event: Event, paths: Sequence[str], caller: Caller) -> None:
    """Raise FORBIDDEN if an operator changes more of an event of somebody else than OPERATOR_FIELDS."""
    refused = sorted(set(paths) - OPERATOR_FIELDS)
    if refused and organizer_of(caller) != event.organizer_id:
        role = ",".join(sorted(caller.roles))
        message = f"only the organizer of the event changes {', '.join(refused)}"
        raise Failure(FORBIDDEN, message, method=_UPDATE, role=role)


def check_etag(event: Event, etag: str, values: EventValues) -> None:
    """Raise ETAG_MISMATCH if the caller read another version of the event, unless the event has these values already.

    A caller repeats an update whose answer was lost. The first try has changed the version.
    """
    if etag and etag != event.etag and not _has_values(event, values):
        raise Failure(Reason.ETAG_MISMATCH, "the event has changed since it was read", etag=event.etag)


def publish_event(event: Event, now: datetime) -> Event:
    """Return a DRAFT event as PUBLISHED; a PUBLISHED event stays unchanged.

    Raises:
        Failure: EVENT_ENDED or ILLEGAL_TRANSITION.
    """
    status = event.status_at(now)
    if event.status is EventStatus.DRAFT:
        if now >= event.end_time:
            raise event_ended(event)
        return _next(event, replace(event, status=EventStatus.PUBLISHED), now)
    if status is EventStatus.PUBLISHED:
        return event
    raise illegal_transition(status, EventStatus.PUBLISHED)


def cancel_event(event: Event, now: datetime, correction: timedelta) -> Event:
    """Return the event as CANCELLED; a CANCELLED event stays unchanged.

    Raises:
        Failure: ILLEGAL_TRANSITION if the event is COMPLETED for longer than `correction`.
    """
    if event.status is EventStatus.CANCELLED:
        return event
    status = event.status_at(now)
    if status is EventStatus.COMPLETED and now >= correctable_until(event, correction):
        raise illegal_transition(status, EventStatus.CANCELLED)
    return _next(event, replace(event, status=EventStatus.CANCELLED), now)


def change_event(event: Event, wanted: Event, sold: Mapping[TicketType, int], now: datetime) -> Event:
    """Return the event with all fields that organizers set taken from `wanted`.

    Args:
        event: the stored event.
        wanted: the event with the values of its organizer.
        sold: the tickets that take up a place, of every type that was ever sold.
        now: becomes the update_time.

    Raises:
        Failure: CAPACITY_BELOW_RESERVED or EVENT_NOT_CHANGEABLE.
    """
    if sold and wanted.currency != event.currency:
        raise event_not_changeable(event, "ticket_price.currency_code", "tickets were sold in its currency")
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


def check_changeable(event: Event, fields: Sequence[str], now: datetime, correction: timedelta) -> None:
    """Raise EVENT_NOT_CHANGEABLE for a change of `fields` if the event is CANCELLED or COMPLETED.

    The times of a COMPLETED event can be corrected for as long as `correction`.
    """
    status = event.status_at(now)
    if status is EventStatus.CANCELLED:
        raise event_not_changeable(event, fields[0], f"the event is {status}")
    if status is EventStatus.COMPLETED:
        until = correctable_until(event, correction)
        for field in fields:
            if field not in CORRECTABLE or now >= until:
                raise event_not_changeable(
                    event, field, f"the event is {status}; its times alone could change until {until.isoformat()}"
                )


def _has_values(event: Event, values: EventValues) -> bool:
    # Requests contain no reserved places.
    stored = replace(event, offers=tuple(replace(offer, reserved=0) for offer in event.offers))
    return replace(stored, **values.attributes) == stored


def _offers(event: Event, wanted: Sequence[Offer], sold: Mapping[TicketType, int]) -> tuple[Offer, ...]:
    kept = {offer.ticket_type for offer in wanted}
    for offer in event.offers:
        if offer.reserved and offer.ticket_type not in kept:
            raise event_not_changeable(event, "offers", f"{offer.ticket_type} tickets are held or sold")
    return tuple(_offer(event, offer, sold) for offer in wanted)


def _offer(event: Event, wanted: Offer, sold: Mapping[TicketType, int]) -> Offer:
    before = event.offer(wanted.ticket_type)
    # A type may have been sold at the event's price before it had an offer.
    reserved = before.reserved if before else sold.get(wanted.ticket_type, 0)
    if before and before.reserved and any(getattr(before, name) != getattr(wanted, name) for name in PROMISED):
        raise event_not_changeable(event, "offers", f"{wanted.ticket_type} tickets are held or sold")
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
    if any(getattr(before, name) != getattr(after, name) for name in GATE_FIELDS):
        revision = before.revision + 1
        return replace(after, revision=revision, changed_revision=revision)
    return after
