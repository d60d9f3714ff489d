from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.adapters.calendar import ics
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.events import EventStatus
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat, TicketStatus

SECRETS = Secrets("TKT-0123456789ABCDEF", "T1ABC")


def draw_ics(sold: SoldTicket) -> bytes:
    return ics(Drawing(TicketFormat.ICS, (PrintedTicket(sold, SECRETS),), "", NOW))


def read(content: bytes) -> tuple[Calendar, Any]:
    calendar = Calendar.from_ical(content)
    [entry] = calendar.walk("VEVENT")
    return calendar, entry


@pytest.mark.parametrize(
    ("zone", "starts", "local", "offset_hours"),
    [
        ("Europe/Berlin", datetime(2030, 3, 30, 19, tzinfo=UTC), "20300330T200000", 1),
        ("Europe/Berlin", datetime(2030, 3, 31, 18, tzinfo=UTC), "20300331T200000", 2),
        ("America/New_York", datetime(2030, 11, 2, 23, tzinfo=UTC), "20301102T190000", -4),
        ("America/New_York", datetime(2030, 11, 4, 0, tzinfo=UTC), "20301103T190000", -5),
        ("Asia/Kathmandu", datetime(2030, 5, 1, 12, 15, tzinfo=UTC), "20300501T180000", 5.75),
        ("Australia/Lord_Howe", datetime(2030, 1, 1, 0, tzinfo=UTC), "20300101T110000", 11),
    ],
)
def test_entry_is_in_local_time_around_a_clock_change(zone, starts, local, offset_hours):
    event = make_event(start_time=starts, end_time=starts + timedelta(hours=8), doors_open_time=None, time_zone=zone)
    content = draw_ics(make_sold(event))
    lines = content.decode().replace("\r\n ", "").split("\r\n")
    assert f"DTSTART;TZID={zone}:{local}" in lines
    calendar, entry = read(content)
    assert entry["dtstart"].dt == starts
    assert entry["dtend"].dt == starts + timedelta(hours=8)
    # The rules in the entry agree, for calendars that do not know the zone by its name.
    rules: Any
    [rules] = calendar.walk("VTIMEZONE")
    local_start = entry["dtstart"].dt.replace(tzinfo=rules.to_tz())
    assert local_start.utcoffset() == timedelta(hours=offset_hours)


def test_entry_has_name_time_place_and_version():
    event = make_event(name="Zoë, Łukasz; 東京", location="Hall\nB", version=7)
    sold = make_sold(event)
    calendar, entry = read(draw_ics(sold))
    assert (calendar["method"], entry["status"], entry["sequence"]) == ("PUBLISH", "CONFIRMED", 7)
    assert entry["uid"] == f"{sold.ticket.ticket_id}@ticketing"
    assert (entry["summary"], entry["location"]) == ("Zoë, Łukasz; 東京", "Hall\nB")
    assert SECRETS.code in entry["description"]
    assert entry["dtstamp"].dt == NOW
    assert not calendar.walk("VTIMEZONE"), "UTC needs no rules"


@pytest.mark.parametrize(
    ("event_status", "ticket_status"),
    [(EventStatus.CANCELLED, TicketStatus.ACTIVE), (EventStatus.PUBLISHED, TicketStatus.REFUNDED)],
)
def test_cancellation_removes_the_entry_by_the_same_uid(event_status, ticket_status):
    sold = make_sold(make_event())
    _, before = read(draw_ics(sold))
    off = replace(sold, event=replace(sold.event, status=event_status, version=3))
    calendar, entry = read(draw_ics(replace(off, ticket=replace(off.ticket, status=ticket_status))))
    assert (calendar["method"], entry["status"]) == ("CANCEL", "CANCELLED")
    assert entry["uid"] == before["uid"]
    assert entry["sequence"] > before["sequence"]
    assert "description" not in entry


def test_entry_of_a_day_ticket_is_on_its_day():
    event = make_event(end_time=NOW + timedelta(days=13))
    day = event.start_time + timedelta(days=1)
    _, entry = read(draw_ics(make_sold(event, valid_from_time=day, valid_until_time=day + timedelta(hours=9))))
    assert (entry["dtstart"].dt, entry["dtend"].dt) == (day, day + timedelta(hours=9))
    # A validity outside the event does not change the entry.
    early = event.start_time - timedelta(days=3)
    ticket = make_sold(event, valid_from_time=early, valid_until_time=early + timedelta(hours=1))
    assert read(draw_ics(ticket))[1]["dtstart"].dt == event.start_time


@pytest.mark.parametrize("year", [1, 9999])
def test_years_without_zone_rules_are_in_utc(year):
    starts = datetime(year, 1, 1, tzinfo=UTC)
    event = make_event(
        start_time=starts, end_time=starts + timedelta(hours=1), doors_open_time=None, time_zone="America/New_York"
    )
    _, entry = read(draw_ics(make_sold(event)))
    assert entry["dtstart"].dt == starts
