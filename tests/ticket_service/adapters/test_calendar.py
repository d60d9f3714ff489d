import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.selling.calendars import entry_of, hours_read, read_entry
from tests.selling.rows import NOW, make_event, make_sold
from tests.selling.zones import hard_hours
from ticket_service.domain.events import EventStatus
from ticket_service.domain.tickets import TicketStatus


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day, hour, minute


def event_at(starts: datetime, ends: datetime, zone: str, **changes):
    return make_event(start_time=starts, end_time=ends, doors_open_time=None, time_zone=zone, **changes)


def lines_of(content: bytes) -> list[str]:
    return content.decode().replace("\r\n ", "").split("\r\n")


@pytest.mark.parametrize(
    ("zone", "starts", "local", "rules"),
    [
        ("Europe/Berlin", at(2030, 3, 30, 19), "20300330T200000", {"BYMONTH=3;BYDAY=-1SU", "BYMONTH=10;BYDAY=-1SU"}),
        ("Europe/Berlin", at(2030, 3, 31, 18), "20300331T200000", {"BYMONTH=3;BYDAY=-1SU", "BYMONTH=10;BYDAY=-1SU"}),
        ("America/New_York", at(2030, 11, 2, 23), "20301102T190000", {"BYMONTH=3;BYDAY=2SU", "BYMONTH=11;BYDAY=1SU"}),
        ("America/New_York", at(2030, 11, 4, 0), "20301103T190000", {"BYMONTH=3;BYDAY=2SU", "BYMONTH=11;BYDAY=1SU"}),
        (
            "Asia/Jerusalem",
            at(2030, 5, 1, 17),
            "20300501T200000",
            {"BYMONTH=3;BYDAY=FR;BYMONTHDAY=23,24,25,26,27,28,29", "BYMONTH=10;BYDAY=-1SU"},
        ),
        ("Asia/Kathmandu", at(2030, 5, 1, 12, 15), "20300501T180000", set()),
        ("Australia/Lord_Howe", at(2030, 1, 1, 0), "20300101T110000", {"BYMONTH=4;BYDAY=1SU", "BYMONTH=10;BYDAY=1SU"}),
    ],
)
def test_entry_is_in_local_time_with_the_rules_of_its_zone(zone, starts, local, rules):
    ends = starts + timedelta(hours=3)
    content = entry_of(make_sold(event_at(starts, ends, zone)))
    lines = lines_of(content)
    assert f"DTSTART;TZID={zone}:{local}" in lines
    written = {frozenset(line.removeprefix("RRULE:").split(";")) for line in lines if line.startswith("RRULE:")}
    assert written == {frozenset(["FREQ=YEARLY", *rule.split(";")]) for rule in rules}
    assert hours_read(content) == {(starts, ends)}


@pytest.mark.parametrize(
    ("zone", "starts", "ends"),
    [
        # Both local times are 02:30.
        ("Europe/Berlin", at(2027, 10, 31, 0, 30), at(2027, 10, 31, 1, 30)),
        # The end alone occurs twice, or the start.
        ("Europe/Berlin", at(2027, 10, 30, 20), at(2027, 10, 31, 0, 15)),
        ("Europe/Berlin", at(2027, 10, 31, 1, 15), at(2027, 10, 31, 8)),
        ("Australia/Lord_Howe", at(2027, 4, 3, 14, 45), at(2027, 4, 3, 15, 15)),
        # Ramadan decides, no yearly rule.
        ("Africa/Casablanca", at(2027, 6, 1, 19), at(2027, 6, 1, 22)),
        # Rules hold for the years around one year.
        ("Europe/Berlin", at(2027, 10, 1, 19), at(2029, 10, 1, 19)),
        ("UTC", at(2027, 10, 1, 19), at(2027, 10, 1, 22)),
        ("America/New_York", at(1, 1, 1), at(1, 1, 1, 1)),
        ("America/New_York", at(9999, 1, 1), at(9999, 1, 1, 1)),
    ],
)
def test_entry_is_in_utc_where_a_local_time_is_in_doubt(zone, starts, ends):
    lines = lines_of(entry_of(make_sold(event_at(starts, ends, zone))))
    assert f"DTSTART:{starts.year:04}{starts:%m%dT%H%M%SZ}" in lines
    assert "BEGIN:VTIMEZONE" not in lines
    assert hours_read(entry_of(make_sold(event_at(starts, ends, zone)))) == {(starts, ends)}


# `python -m tests.selling.zones` does the same for all zones.
@pytest.mark.parametrize(
    "zone",
    [
        "Africa/Cairo",
        "Africa/Casablanca",
        "America/Asuncion",
        "America/Nuuk",
        "Asia/Gaza",
        "Australia/Lord_Howe",
        "Europe/Berlin",
    ],
)
def test_two_programs_read_the_hours_of_an_event_anywhere(zone):
    for starts, ends in hard_hours(zone):
        assert hours_read(entry_of(make_sold(event_at(starts, ends, zone)))) == {(starts, ends)}, starts


def test_entry_follows_the_grammar_and_itip():
    event = make_event(name="Zoë, Łukasz; 東京 \\ 🎭" * 9, location="Hall\nB\x07", version=7, revision=40)
    sold = make_sold(event, update_time=NOW + timedelta(hours=1))
    content = entry_of(sold)
    assert content.endswith(b"END:VCALENDAR\r\n")
    for line in content.split(b"\r\n"):
        assert len(line) <= 75
        assert b"\n" not in line
        line.decode()
    calendar, entry = read_entry(content)
    assert (calendar["version"], calendar["method"], entry["status"]) == ("2.0", "PUBLISH", "CONFIRMED")
    assert (entry["summary"], entry["location"]) == (event.name, "Hall\nB")
    assert (entry["organizer"], entry["organizer"].params["CN"]) == ("mailto:tickets@example.com", "Concert Hall")
    assert entry["sequence"] == 47
    assert (entry["dtstamp"].dt, entry["last-modified"].dt) == (NOW, NOW + timedelta(hours=1))
    assert "attendee" not in entry
    assert hours_read(content) == {(event.start_time, event.end_time)}


@pytest.mark.parametrize(
    ("event_status", "ticket_status"),
    [(EventStatus.CANCELLED, TicketStatus.ACTIVE), (EventStatus.PUBLISHED, TicketStatus.REFUNDED)],
)
def test_cancellation_removes_the_entry_by_a_later_sequence(event_status, ticket_status):
    sold = make_sold(make_event())
    _, before = read_entry(entry_of(sold))
    # A cancelled ticket takes a revision of its event.
    event = replace(sold.event, status=event_status, revision=sold.event.revision + 1)
    off = replace(sold, event=event, ticket=replace(sold.ticket, status=ticket_status))
    calendar, entry = read_entry(entry_of(off))
    assert (calendar["method"], entry["status"]) == ("CANCEL", "CANCELLED")
    assert (entry["uid"], entry["organizer"]) == (before["uid"], before["organizer"])
    assert entry["sequence"] > before["sequence"]
    assert "description" not in entry


def test_entry_lists_the_type_and_code_of_each_ticket():
    event = make_event()
    several = [make_sold(event) for _ in range(60)]
    _, entry = read_entry(entry_of(several[0], several[:2]))
    assert re.fullmatch(r"(Standard TKT-[0-9A-F]{16}\n?){2}", entry["description"])
    _, entry = read_entry(entry_of(several[0], several))
    assert (entry["description"].count("TKT-"), entry["description"][-1]) == (50, "…")
