from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.environment.messages import at, struct
from tests.selling.shop import STANDARD, VIP, event, money
from ticket_service.convert.event_input import read_values
from ticket_service.convert.events import SETTABLE
from ticketing.chassis.failures import Failure
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import event_pb2
from ticketing.tickets.v1.event_service_pb2 import CreateEventRequest

NOW = datetime(2030, 6, 1, tzinfo=UTC)
START, END = NOW + timedelta(days=10), NOW + timedelta(days=10, hours=4)


def faults(message: event_pb2.Event) -> set[str]:
    fields = Fields(CreateEventRequest(event=message))
    read_values(fields, SETTABLE, max_per_purchase=20)
    try:
        fields.check()
    except Failure as failure:
        return {violation.field for violation in failure.violations}
    return set()


def offer(**changes: Any) -> event_pb2.TicketOffer:
    return event_pb2.TicketOffer(**{"ticket_type": STANDARD, "price": money(1), **changes})


def tier(days_before: int, percent: int) -> event_pb2.RefundPolicy.Tier:
    return event_pb2.RefundPolicy.Tier(days_before=days_before, percent=percent)


def policy(*tiers: event_pb2.RefundPolicy.Tier) -> event_pb2.RefundPolicy:
    return event_pb2.RefundPolicy(tiers=tiers)


def broken_time(**parts: int) -> event_pb2.Event:
    message = event(NOW)
    for name, value in parts.items():
        setattr(message.start_time, name, value)
    return message


@pytest.mark.parametrize(
    "message",
    [
        event(NOW),
        event(NOW, name="n" * 200, description="d" * 10_000, location="l" * 255),
        event(NOW, image_url="https://example.org/" + "i" * 480),
        event(NOW, doors_open_time=at(START), time_zone="America/Argentina/Buenos_Aires"),
        event(NOW, max_participants=0),
        event(NOW, max_participants=2**31 - 1, ticket_price=money(1_000_000_000)),
        event(NOW, offers=[offer(), offer(ticket_type=VIP, min_per_purchase=3, max_per_purchase=3, capacity=0)]),
        event(NOW, offers=[offer(min_per_purchase=20, max_per_purchase=20)]),
        event(NOW, offers=[offer(sales_start_time=at(NOW)), offer(ticket_type=VIP, valid_until_time=at(END))]),
        event(NOW, refund_policy=policy(*(tier(days, 100) for days in range(19)), tier(3_650, 0))),
        event(NOW, metadata=struct(text="m" * 16_000)),
        event(NOW, admission_policy=4, day_change_hour=0),
        event(NOW, admission_policy=4, day_change_hour=23),
    ],
)
def test_events_within_the_bounds_are_valid(message):
    assert faults(message) == set()


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (event_pb2.Event(), {"name", "event_type", "start_time", "end_time", "ticket_price"}),
        (event(NOW, name="n" * 201, description="d" * 10_001), {"name", "description"}),
        (event(NOW, name="n\0", location="l" * 256), {"name", "location"}),
        (event(NOW, event_type=6, admission_policy=5), {"event_type", "admission_policy"}),
        (event(NOW, day_change_hour=24), {"day_change_hour"}),
        (event(NOW, day_change_hour=-1), {"day_change_hour"}),
        (event(NOW, end_time=at(START)), {"end_time"}),
        (event(NOW, doors_open_time=at(START + timedelta(microseconds=1))), {"doors_open_time"}),
        # An unreadable start is not compared with the end or the doors.
        (broken_time(seconds=253_402_300_800), {"start_time"}),
        (broken_time(seconds=-62_135_596_801), {"start_time"}),
        (broken_time(nanos=-1), {"start_time"}),
        (event(NOW, time_zone="Europe/Nowhere"), {"time_zone"}),
        (event(NOW, time_zone="../etc/passwd"), {"time_zone"}),
        (event(NOW, max_participants=-1), {"max_participants"}),
        (event(NOW, ticket_price=money(-1)), {"ticket_price.minor_units"}),
        (event(NOW, ticket_price=money(1_000_000_001)), {"ticket_price.minor_units"}),
        (event(NOW, ticket_price=money(1, "eur")), {"ticket_price.currency_code"}),
        (event(NOW, image_url="https://"), {"image_url"}),
        (event(NOW, image_url="https://[half"), {"image_url"}),
        (event(NOW, image_url="javascript:alert(1)"), {"image_url"}),
        (event(NOW, image_url="https://example.org/" + "i" * 481), {"image_url"}),
        (event(NOW, metadata=struct(text="m" * 16_384)), {"metadata"}),
        (event(NOW, metadata=struct(number=float("inf"))), {"metadata"}),
        (event(NOW, refund_policy=policy(tier(-1, 101))),
         {"refund_policy.tiers[0].days_before", "refund_policy.tiers[0].percent"}),
        (event(NOW, refund_policy=policy(tier(3, 1), tier(3, 2))), {"refund_policy.tiers[1].days_before"}),
        (event(NOW, refund_policy=policy(tier(3_651, -1))),
         {"refund_policy.tiers[0].days_before", "refund_policy.tiers[0].percent"}),
        (event(NOW, refund_policy=policy(*(tier(days, 1) for days in range(21)))), {"refund_policy.tiers"}),
        (event(NOW, offers=[event_pb2.TicketOffer()]), {"offers[0].ticket_type", "offers[0].price"}),
        (event(NOW, offers=[offer(), offer()]), {"offers[1].ticket_type"}),
        (event(NOW, offers=[offer()] * 5), {"offers"}),
        (event(NOW, offers=[offer(ticket_type=9, price=money(-5, "USD"))]),
         {"offers[0].ticket_type", "offers[0].price.minor_units", "offers[0].price.currency_code"}),
        (event(NOW, offers=[offer(capacity=-1, min_per_purchase=-1, max_per_purchase=21)]),
         {"offers[0].capacity", "offers[0].min_per_purchase", "offers[0].max_per_purchase"}),
        (event(NOW, offers=[offer(min_per_purchase=3, max_per_purchase=2)]), {"offers[0].max_per_purchase"}),
        (event(NOW, offers=[offer(sales_start_time=at(END), sales_end_time=at(END))]), {"offers[0].sales_end_time"}),
        (event(NOW, offers=[offer(valid_from_time=at(END), valid_until_time=at(START))]),
         {"offers[0].valid_until_time"}),
    ],
)  # fmt: skip
def test_every_violation_has_its_path(message, fields):
    assert faults(message) == {f"event.{field}" for field in fields}
