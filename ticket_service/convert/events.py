"""Conversion of events and their sales to messages."""

from datetime import datetime
from typing import Final

from google.protobuf import json_format

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, EVENT_TYPES, TICKET_STATUSES, TICKET_TYPES
from ticket_service.convert.money import money_message
from ticket_service.domain.event_sales import EventSales
from ticket_service.domain.events import Event, Offer
from ticketing.chassis.bounds import output_only_fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, event_service_pb2

OUTPUT_ONLY: Final = output_only_fields(event_pb2.Event)
# The fields that organizers set.
SETTABLE: Final = tuple(name for name in event_pb2.Event.DESCRIPTOR.fields_by_name if name not in OUTPUT_ONLY)


def event_message(event: Event, now: datetime) -> event_pb2.Event:
    """Build the message of an event as of `now`."""
    message = event_pb2.Event(
        event_id=str(event.event_id),
        name=event.name,
        description=event.description,
        event_type=EVENT_TYPES[event.event_type],
        status=EVENT_STATUSES[event.status_at(now)],
        start_time=timestamp(event.start_time),
        end_time=timestamp(event.end_time),
        doors_open_time=timestamp(event.doors_open_time),
        time_zone=event.time_zone,
        location=event.location,
        is_online=event.is_online,
        max_participants=event.max_participants,
        current_participants=event.reserved,
        available_tickets=None if event.max_participants is None else event.max_participants - event.reserved,
        ticket_price=money_message(event.currency, event.ticket_price),
        offers=[_offer_message(event.currency, offer) for offer in event.offers],
        admission_policy=ADMISSION_POLICIES[event.admission_policy],
        image_url=event.image_url,
        create_time=timestamp(event.create_time),
        update_time=timestamp(event.update_time),
        revision=event.revision,
        etag=event.etag,
        organizer_id=event.organizer_id,
        max_held_per_customer=event.max_held_per_customer,
        max_tickets_per_customer=event.max_tickets_per_customer,
        day_change_hour=event.day_change_hour,
        allow_gate_look_up=event.allow_gate_look_up,
        show_holder_name=event.show_holder_name,
    )
    message.refund_policy.tiers.extend(
        event_pb2.RefundPolicy.Tier(days_before=tier.days_before, percent=tier.percent) for tier in event.refund_tiers
    )
    json_format.ParseDict(dict(event.metadata), message.metadata)
    return message


def _offer_message(currency: str, offer: Offer) -> event_pb2.TicketOffer:
    return event_pb2.TicketOffer(
        ticket_type=TICKET_TYPES[offer.ticket_type],
        price=money_message(currency, offer.price),
        capacity=offer.capacity,
        reserved=offer.reserved,
        sales_start_time=timestamp(offer.sales_start_time),
        sales_end_time=timestamp(offer.sales_end_time),
        min_per_purchase=offer.min_per_purchase,
        max_per_purchase=offer.max_per_purchase or 0,
        valid_from_time=timestamp(offer.valid_from_time),
        valid_until_time=timestamp(offer.valid_until_time),
        max_held_per_customer=offer.max_held_per_customer,
        max_tickets_per_customer=offer.max_tickets_per_customer,
    )


def sales_message(sales: EventSales) -> event_service_pb2.GetEventSalesResponse:
    """Build the message of an event's sales."""
    return event_service_pb2.GetEventSalesResponse(
        lines=[
            event_service_pb2.SalesLine(
                ticket_type=TICKET_TYPES[line.ticket_type],
                status=TICKET_STATUSES[line.status],
                tickets=line.tickets,
                paid=money_message(sales.currency, line.paid),
                refunded=money_message(sales.currency, line.refunded),
            )
            for line in sales.lines
        ],
        refunds_pending=sales.refunds_pending,
        refunds_failed=sales.refunds_failed,
    )


def without_output_only(message: event_pb2.Event) -> event_pb2.Event:
    """Return a copy with only the fields that organizers set."""
    copy = event_pb2.Event()
    copy.CopyFrom(message)
    for name in OUTPUT_ONLY:
        copy.ClearField(name)  # type: ignore[arg-type]  # a literal in the stubs
    return copy
