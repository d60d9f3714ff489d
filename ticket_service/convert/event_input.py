"""Parsing of the fields that organizers set of an event.

Every field at fault is named by its path, such as `event.offers[0].price`.
"""

import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_TYPES, TICKET_TYPES
from ticket_service.convert.events import SETTABLE
from ticket_service.convert.money import read_new_price
from ticket_service.domain.event_changes import EventValues, find_conflicts
from ticket_service.domain.events import AdmissionPolicy, Event, EventStatus, Offer, RefundTier
from ticket_service.domain.page_design import METADATA_KEY, design_faults
from ticket_service.domain.wallets import place_faults
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import event_pb2, event_service_pb2

# The names of the IANA database, as browsers and calendars have them. A system may have more, such as its `localtime`;
# "Factory" is the database's own name for a zone that nobody has set.
TIME_ZONES: Final = frozenset((importlib.resources.files("tzdata") / "zones").read_text().split()) - {"Factory"}

EventFields: TypeAlias = Fields[event_pb2.Event]
OfferFields: TypeAlias = Fields[event_pb2.TicketOffer]


def read_values(request: Fields[Any], paths: Sequence[str], max_per_purchase: int) -> EventValues:
    """Read the fields of an event that `paths` names; the result is usable only if `request` has no violation.

    No offer may allow more than `max_per_purchase` tickets of one type in one purchase.
    """
    event: event_pb2.Event = request.message.event
    fields = request.inside("event", event)
    attributes: dict[str, Any] = {path: _READERS[path](fields) for path in paths if path in _READERS}
    currencies: tuple[str | None, ...] = ()
    if "ticket_price" in paths:
        attributes["currency"], attributes["ticket_price"] = read_new_price(fields, "ticket_price")
    if "offers" in paths:
        attributes["offers"] = _offers(fields, max_per_purchase)
        # Each currency belongs to an offer that was read; of too many offers, none is read.
        currencies = tuple(
            offer.price.currency_code if offer.HasField("price") else None
            for offer, _ in zip(event.offers, attributes["offers"], strict=False)
        )
    if "refund_policy" in paths:
        attributes["refund_tiers"] = _tiers(fields)
    values = EventValues(attributes, currencies)
    for conflict in find_conflicts(values):
        if not any(request.at_fault(path) for path in conflict.compared):
            request.violate(conflict.path, conflict.description)
    return values


def new_event(event_id: UUID, organizer_id: str, values: EventValues, now: datetime) -> Event:
    """Return the DRAFT event of these values, which are those of all fields that organizers set."""
    return Event(
        event_id=event_id,
        organizer_id=organizer_id,
        status=EventStatus.DRAFT,
        reserved=0,
        create_time=now,
        update_time=now,
        revision=1,
        changed_revision=1,
        version=1,
        **values.attributes,
    )


def read_paths(fields: Fields[event_service_pb2.UpdateEventRequest]) -> tuple[str, ...]:
    """Read an update mask: top-level fields that organizers set."""
    paths = fields.message.update_mask.paths
    if not paths:
        fields.violate("update_mask", "is required")
    for index, path in enumerate(paths):
        if path in event_pb2.Event.DESCRIPTOR.fields_by_name and path not in SETTABLE:
            fields.violate(f"update_mask.paths[{index}]", f"{path[:100]} is output only")
        elif path not in SETTABLE:
            fields.violate(f"update_mask.paths[{index}]", f"an event has no field {path[:100]!r} that can be set")
    return tuple(path for path in paths if path in SETTABLE)


def _time_zone(fields: EventFields) -> str:
    name = fields.message.time_zone
    if name and name not in TIME_ZONES:
        fields.violate("time_zone", "is not the name of a time zone (IANA), such as Europe/Berlin")
    return name or "UTC"


def _image_url(fields: EventFields) -> str:
    url = fields.text("image_url")
    try:
        parts = urlsplit(url)
        is_https = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        is_https = False
    if url and not is_https:
        fields.violate("image_url", "is not an https URL")
    return url


def _metadata(fields: EventFields) -> dict[str, object]:
    metadata = fields.struct("metadata")
    for name, fault in design_faults(metadata.get(METADATA_KEY, {})):
        fields.violate(f"metadata.{METADATA_KEY}.{name}".rstrip("."), fault)
    for name, fault in place_faults(metadata):
        fields.violate(f"metadata.{name}", fault)
    return metadata


# The readers by path, of the fields that are one attribute of an Event under the same name.
_READERS: Final[Mapping[str, Callable[[EventFields], object]]] = {
    "name": lambda fields: fields.text("name"),
    "description": lambda fields: fields.text("description"),
    "event_type": lambda fields: fields.enum("event_type", EVENT_TYPES),
    "start_time": lambda fields: fields.time("start_time"),
    "end_time": lambda fields: fields.time("end_time"),
    "doors_open_time": lambda fields: fields.optional_time("doors_open_time"),
    "time_zone": _time_zone,
    "location": lambda fields: fields.text("location"),
    "is_online": lambda fields: fields.message.is_online,
    "max_participants": lambda fields: fields.optional_number("max_participants"),
    "admission_policy": lambda fields: fields.enum(
        "admission_policy", ADMISSION_POLICIES, AdmissionPolicy.SINGLE_ENTRY
    ),
    "image_url": _image_url,
    "metadata": _metadata,
    "max_held_per_customer": lambda fields: fields.optional_number("max_held_per_customer"),
    "max_tickets_per_customer": lambda fields: fields.optional_number("max_tickets_per_customer"),
    "day_change_hour": lambda fields: fields.optional_number("day_change_hour"),
    "allow_gate_look_up": lambda fields: fields.message.allow_gate_look_up,
    "show_holder_name": lambda fields: fields.message.show_holder_name,
}


def _tiers(fields: EventFields) -> tuple[RefundTier, ...]:
    policy = fields.inside("refund_policy", fields.message.refund_policy)
    tiers: dict[int, RefundTier] = {}
    for tier in policy.each("tiers", policy.message.tiers):
        days_before, percent = tier.number("days_before"), tier.number("percent")
        if days_before in tiers and not tier.at_fault("days_before"):
            tier.violate("days_before", "occurs twice")
        tiers[days_before] = RefundTier(days_before, percent)
    return tuple(tiers.values())


def _offers(fields: EventFields, max_per_purchase: int) -> tuple[Offer, ...]:
    offers: list[Offer] = []
    for item in fields.each("offers", fields.message.offers):
        offer = _offer(item, max_per_purchase)
        if any(offer.ticket_type is before.ticket_type for before in offers):
            item.violate("ticket_type", "has an offer already")
        offers.append(offer)
    return tuple(offers)


def _offer(fields: OfferFields, max_per_purchase: int) -> Offer:
    _, price = read_new_price(fields, "price")
    minimum = fields.number("min_per_purchase", maximum=max_per_purchase) or 1
    maximum = fields.number("max_per_purchase", maximum=max_per_purchase) or None
    if maximum is not None and maximum < minimum:
        _report(fields, "max_per_purchase", "min_per_purchase", "is less than min_per_purchase")
    sales_start, sales_end = _window(fields, "sales_start_time", "sales_end_time")
    valid_from, valid_until = _window(fields, "valid_from_time", "valid_until_time")
    return Offer(
        ticket_type=fields.enum("ticket_type", TICKET_TYPES),
        price=price,
        capacity=fields.optional_number("capacity"),
        sales_start_time=sales_start,
        sales_end_time=sales_end,
        min_per_purchase=minimum,
        max_per_purchase=maximum,
        valid_from_time=valid_from,
        valid_until_time=valid_until,
        max_held_per_customer=fields.number("max_held_per_customer"),
        max_tickets_per_customer=fields.number("max_tickets_per_customer"),
    )


def _window(fields: OfferFields, begin_field: str, end_field: str) -> tuple[datetime | None, datetime | None]:
    begin, end = fields.optional_time(begin_field), fields.optional_time(end_field)
    if begin is not None and end is not None and end <= begin:
        _report(fields, end_field, begin_field, f"is not after {begin_field}")
    return begin, end


def _report(fields: OfferFields, field: str, other: str, description: str) -> None:
    """Report `field`, unless it or the other field could not be read: a substitute proves nothing."""
    if not fields.at_fault(field) and not fields.at_fault(other):
        fields.violate(field, description)
