"""Write an entry of a holder's calendar (RFC 5545), as a message by which an organizer publishes or cancels it (RFC 5546).

The UID of an entry stays the same and its SEQUENCE grows, so a calendar replaces an older entry by a newer one, and
METHOD CANCEL removes it. The times are in the time zone of the event, with the rules of the zone. They are in UTC where
the clocks change: some programs read the first of two equal local times, and others the second.
"""

from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from icalendar import Calendar, Timezone, TimezoneDaylight, TimezoneStandard, vCalAddress, vRecur
from icalendar import Event as Entry

from ticket_service.adapters.words import words_of
from ticket_service.domain.calendar_entries import CalendarEntry, method_of
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.zone_rules import Observance, is_in_doubt, rules_of

# A holder with more tickets finds their codes in the mails.
MAX_CODES: Final = 50
# RFC 5545 permits no control characters but tabs, and lines are joined by "\n".
_FORBIDDEN: Final = {code: None for code in [*range(32), 127] if chr(code) not in "\t\n"}


def ics(drawing: Drawing) -> bytes:
    """Write the entry of a drawing, with the codes of its tickets and the time of the drawing as DTSTAMP.

    Raises:
        ValueError: the drawing has no entry.
    """
    entry = drawing.entry
    if entry is None:
        raise ValueError("a calendar entry is drawn from an entry")
    rules = _rules(entry)
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", "-//ticketing//tickets v1//EN")
    calendar.add("method", method_of(entry))
    if rules:
        calendar.add_component(_time_zone(entry.time_zone, rules))
    zone = ZoneInfo(entry.time_zone) if rules else UTC
    calendar.add_component(_component(entry, drawing, zone))
    content: bytes = calendar.to_ical()
    return content


def _component(entry: CalendarEntry, drawing: Drawing, zone: tzinfo) -> Entry:
    component = Entry()
    component.add("uid", entry.uid)
    component.add("sequence", entry.sequence)
    component.add("dtstamp", drawing.now.astimezone(UTC))
    component.add("last-modified", entry.update_time.astimezone(UTC))
    component.add("organizer", _organizer(entry))
    component.add("summary", _text(entry.name))
    component.add("dtstart", entry.starts.astimezone(zone))
    component.add("dtend", entry.ends.astimezone(zone))
    component.add("status", "CANCELLED" if entry.is_removed else "CONFIRMED")
    if drawing.tickets and not entry.is_removed:
        component.add("description", _text(_codes(drawing.tickets, drawing.language)))
    if entry.location:
        component.add("location", _text(entry.location))
    return component


def _organizer(entry: CalendarEntry) -> vCalAddress:
    organizer = vCalAddress(f"mailto:{entry.organizer.address}")
    if entry.organizer.name:
        organizer.params["CN"] = _text(entry.organizer.name).replace('"', "'")
    return organizer


def _codes(tickets: tuple[PrintedTicket, ...], language: str) -> str:
    types = words_of(language).ticket_types
    lines = [f"{types[ticket.sold.ticket.ticket_type]} {ticket.secrets.code}" for ticket in tickets[:MAX_CODES]]
    return "\n".join([*lines, "…"] if len(tickets) > MAX_CODES else lines)


def _text(text: str) -> str:
    return text.translate(_FORBIDDEN)


def _rules(entry: CalendarEntry) -> tuple[Observance, ...]:
    """Return the rules of the zone of an entry, or none if its times are to be in UTC."""
    if entry.time_zone == "UTC":
        return ()
    # The years of UTC decide first: a local time may be outside of Python's years.
    rules = rules_of(entry.time_zone, entry.starts.year) if entry.ends.year <= entry.starts.year + 1 else ()
    times = (entry.starts, entry.ends) if rules else ()
    return () if any(is_in_doubt(time.astimezone(ZoneInfo(entry.time_zone))) for time in times) else rules


def _time_zone(name: str, rules: tuple[Observance, ...]) -> Timezone:
    zone = Timezone()
    zone.add("tzid", name)
    for observance in rules:
        part = TimezoneDaylight() if observance.is_daylight else TimezoneStandard()
        part.add("dtstart", observance.begins)
        part.add("tzoffsetfrom", observance.offset_before)
        part.add("tzoffsetto", observance.offset)
        part.add("tzname", observance.name)
        if observance.rule:
            part.add("rrule", vRecur.from_ical(observance.rule))
        zone.add_component(part)
    return zone
