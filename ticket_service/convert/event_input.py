"""Reads what organizers set of an event; every field at fault is named by its path, such as `event.offers[0].price`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import available_timezones

from google.protobuf.message import Message

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_TYPES, TICKET_TYPES, read_enum
from ticket_service.convert.events import SETTABLE
from ticket_service.convert.money import read_price
from ticket_service.domain.event_changes import EventValues, find_conflicts
from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, Offer, RefundTier
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import event_pb2

MAX_INT32: Final = 2**31 - 1
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_TIERS: Final = 20
MAX_DAYS_BEFORE: Final = 3_650
TIME_ZONES: Final = frozenset(available_timezones())


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new event has that its organizer does not set."""

    event_id: UUID
    organizer_id: str
    now: datetime
    # Tickets of one type in one purchase; no offer may allow more.
    max_per_purchase: int


def read_event(fields: Fields, message: event_pb2.Event, draft: Draft) -> Event:
    """Read a new event; the result is usable only if `fields` found no violation."""
    values = read_values(fields, message, SETTABLE, draft.max_per_purchase)
    return Event(
        event_id=draft.event_id,
        organizer_id=draft.organizer_id,
        status=EventStatus.DRAFT,
        reserved=0,
        create_time=draft.now,
        update_time=draft.now,
        revision=1,
        changed_revision=1,
        version=1,
        **values.attributes,
    )


def read_values(fields: Fields, message: event_pb2.Event, paths: Sequence[str], max_per_purchase: int) -> EventValues:
    """Read the fields of an event that `paths` names; the result is usable only if `fields` found no violation.

    Args:
        fields: collects the violations.
        message: the event as its organizer wants it.
        paths: fields that organizers set.
        max_per_purchase: no offer may allow more tickets of one type in one purchase.
    """
    attributes: dict[str, Any] = {path: _READERS[path](fields, message) for path in paths if path in _READERS}
    currencies: tuple[str | None, ...] = ()
    if "ticket_price" in paths:
        attributes["currency"], attributes["ticket_price"] = _ticket_price(fields, message)
    if "offers" in paths:
        attributes["offers"] = _offers(fields, message, max_per_purchase)
        # In step with the offers that were read: with too many of them, none is.
        currencies = tuple(_currency(offer) for offer, _ in zip(message.offers, attributes["offers"], strict=False))
    if "refund_policy" in paths:
        attributes["refund_tiers"] = _tiers(fields, message.refund_policy)
    values = EventValues(attributes, currencies)
    for conflict in find_conflicts(values):
        if not any(fields.at_fault(path) for path in conflict.compared):
            fields.violate(conflict.path, conflict.description)
    return values


# By path, for those fields that are one attribute of an Event under the same name.
_READERS: Final[Mapping[str, Callable[[Fields, event_pb2.Event], object]]] = {
    "name": lambda fields, message: fields.text("event.name", message.name, min_length=1, max_length=200),
    "description": lambda fields, message: fields.text("event.description", message.description, max_length=10_000),
    "event_type": lambda fields, message: read_enum(fields, "event.event_type", message.event_type, EVENT_TYPES),
    "start_time": lambda fields, message: _required(fields, message, "start_time"),
    "end_time": lambda fields, message: _required(fields, message, "end_time"),
    "doors_open_time": lambda fields, message: _optional(fields, message, "doors_open_time", "event."),
    "time_zone": lambda fields, message: _time_zone(fields, message.time_zone),
    "location": lambda fields, message: fields.text("event.location", message.location, max_length=255),
    "is_online": lambda _, message: message.is_online,
    "max_participants": lambda fields, message: _count(fields, message, "max_participants", "event."),
    "admission_policy": lambda fields, message: read_enum(
        fields,
        "event.admission_policy",
        message.admission_policy,
        ADMISSION_POLICIES,
        unspecified=AdmissionPolicy.SINGLE_ENTRY,
    ),
    "image_url": lambda fields, message: _image_url(fields, message.image_url),
    "metadata": lambda fields, message: fields.struct("event.metadata", message.metadata, max_bytes=MAX_METADATA_BYTES),
}


def _ticket_price(fields: Fields, message: event_pb2.Event) -> tuple[str, int]:
    if not message.HasField("ticket_price"):
        fields.violate("event.ticket_price", "is required")
        return "", 0
    return read_price(fields, "event.ticket_price", message.ticket_price)


def _currency(offer: event_pb2.TicketOffer) -> str | None:
    return offer.price.currency_code if offer.HasField("price") else None


def _required(fields: Fields, message: event_pb2.Event, name: str) -> datetime:
    field = f"event.{name}"
    if not message.HasField(name):  # type: ignore[arg-type]  # a literal in the stubs
        fields.violate(field, "is required")
    return fields.time(field, getattr(message, name))


def _optional(fields: Fields, message: Message, name: str, prefix: str) -> datetime | None:
    return fields.time(prefix + name, getattr(message, name)) if message.HasField(name) else None


def _count(fields: Fields, message: Message, name: str, prefix: str) -> int | None:
    if not message.HasField(name):
        return None
    return fields.number(prefix + name, getattr(message, name), minimum=0, maximum=MAX_INT32)


def _ordered(fields: Fields, compared: tuple[str, ...], description: str, *, in_order: bool) -> None:
    """Name the first of the compared fields, unless one of them could not be read to begin with."""
    if not in_order and not any(fields.at_fault(field) for field in compared):
        fields.violate(compared[0], description)


def _time_zone(fields: Fields, name: str) -> str:
    if name and name not in TIME_ZONES:
        fields.violate("event.time_zone", "is not the name of a time zone (IANA), such as Europe/Berlin")
    return name or "UTC"


def _image_url(fields: Fields, url: str) -> str:
    fields.text("event.image_url", url, max_length=500)
    try:
        parts = urlsplit(url)
        is_https = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        is_https = False
    if url and not is_https:
        fields.violate("event.image_url", "is not an https URL")
    return url


def _tiers(fields: Fields, policy: event_pb2.RefundPolicy) -> tuple[RefundTier, ...]:
    where = "event.refund_policy.tiers"
    if len(policy.tiers) > MAX_TIERS:
        fields.violate(where, f"are more than {MAX_TIERS}")
        return ()
    seen: set[int] = set()
    tiers = []
    for index, tier in enumerate(policy.tiers):
        days_before = f"{where}[{index}].days_before"
        fields.number(days_before, tier.days_before, minimum=0, maximum=MAX_DAYS_BEFORE)
        fields.number(f"{where}[{index}].percent", tier.percent, minimum=0, maximum=100)
        if tier.days_before in seen:
            fields.violate(days_before, "is there twice")
        seen.add(tier.days_before)
        tiers.append(RefundTier(tier.days_before, tier.percent))
    return tuple(tiers)


def _offers(fields: Fields, message: event_pb2.Event, limit: int) -> tuple[Offer, ...]:
    # Types are unique, so more than there are types cannot be right; the rest is not looked at.
    if len(message.offers) > len(TICKET_TYPES):
        fields.violate("event.offers", "are more than there are ticket types")
        return ()
    offers: list[Offer] = []
    for index, offer in enumerate(message.offers):
        where = f"event.offers[{index}]."
        parsed = _offer(fields, offer, where, limit)
        if any(parsed.ticket_type is before.ticket_type for before in offers):
            fields.violate(f"{where}ticket_type", "has an offer already")
        offers.append(parsed)
    return tuple(offers)


def _offer(fields: Fields, offer: event_pb2.TicketOffer, where: str, limit: int) -> Offer:
    price = 0
    if offer.HasField("price"):
        _, price = read_price(fields, f"{where}price", offer.price)
    else:
        fields.violate(f"{where}price", "is required")
    minimum = fields.number(f"{where}min_per_purchase", offer.min_per_purchase, minimum=0, maximum=limit) or 1
    maximum = fields.number(f"{where}max_per_purchase", offer.max_per_purchase, minimum=0, maximum=limit) or None
    compared = (f"{where}max_per_purchase", f"{where}min_per_purchase")
    _ordered(fields, compared, "is less than min_per_purchase", in_order=maximum is None or minimum <= maximum)
    sales_start, sales_end = _window(fields, offer, where, ("sales_start_time", "sales_end_time"))
    valid_from, valid_until = _window(fields, offer, where, ("valid_from_time", "valid_until_time"))
    return Offer(
        ticket_type=read_enum(fields, f"{where}ticket_type", offer.ticket_type, TICKET_TYPES),
        price=price,
        capacity=_count(fields, offer, "capacity", where),
        sales_start_time=sales_start,
        sales_end_time=sales_end,
        min_per_purchase=minimum,
        max_per_purchase=maximum,
        valid_from_time=valid_from,
        valid_until_time=valid_until,
    )


def _window(
    fields: Fields, offer: event_pb2.TicketOffer, where: str, names: tuple[str, str]
) -> tuple[datetime | None, datetime | None]:
    begin, end = (_optional(fields, offer, name, where) for name in names)
    compared = (where + names[1], where + names[0])
    _ordered(fields, compared, f"is not after {names[0]}", in_order=begin is None or end is None or begin < end)
    return begin, end
