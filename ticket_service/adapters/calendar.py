"""Write tickets as a calendar with an entry for each (RFC 5545), in the time zone of the event.

The UID contains the ticket id and SEQUENCE is the version of the event, so a calendar replaces an older entry by a
newer one. METHOD CANCEL removes the entry.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from icalendar import Calendar
from icalendar import Event as Entry

from ticket_service.domain.drawings import Drawing, PrintedTicket, ticket_hours
from ticket_service.domain.events import EventStatus
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket
from ticket_service.domain.zones import zone_of

# The entry contains the rules of the zone for this time before and after the event, with every clock change in it.
RULES_AROUND: Final = timedelta(days=366)


def ics(drawing: Drawing) -> bytes:
    """Write the entries of the tickets, with the code of each and the time of the drawing as DTSTAMP.

    The calendar removes the entries if `is_removal` is true, or the event or every ticket is cancelled.
    """
    is_removal = drawing.is_removal or all(_is_cancelled(ticket.sold) for ticket in drawing.tickets)
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", "-//ticketing//tickets v1//EN")
    calendar.add("method", "CANCEL" if is_removal else "PUBLISH")
    for ticket in drawing.tickets:
        calendar.add_component(_entry(ticket, drawing.now, is_removal=is_removal))
    hours = [ticket_hours(ticket.sold) for ticket in drawing.tickets]
    starts, ends = min(starts for starts, _ in hours), max(ends for _, ends in hours)
    if zone_of(drawing.tickets[0].sold.event.time_zone, starts, ends) is not UTC:
        calendar.add_missing_timezones((starts - RULES_AROUND).date(), (ends + RULES_AROUND).date())
    content: bytes = calendar.to_ical()
    return content


def _entry(ticket: PrintedTicket, now: datetime, *, is_removal: bool) -> Entry:
    sold, event = ticket.sold, ticket.sold.event
    is_cancelled = is_removal or _is_cancelled(sold)
    starts, ends = ticket_hours(sold)
    zone = zone_of(event.time_zone, starts, ends)
    entry = Entry()
    entry.add("uid", f"{sold.ticket.ticket_id}@ticketing")
    entry.add("sequence", event.version)
    entry.add("dtstamp", now.astimezone(UTC))
    entry.add("last-modified", max(event.update_time, sold.ticket.update_time).astimezone(UTC))
    entry.add("summary", event.name)
    entry.add("dtstart", starts.astimezone(zone))
    entry.add("dtend", ends.astimezone(zone))
    entry.add("status", "CANCELLED" if is_cancelled else "CONFIRMED")
    if not is_cancelled:
        entry.add("description", f"{sold.ticket.ticket_type} {ticket.secrets.code}")
    if event.location:
        entry.add("location", event.location)
    return entry


def _is_cancelled(sold: SoldTicket) -> bool:
    return sold.event.status is EventStatus.CANCELLED or sold.ticket.status in CANCELLED_STATUSES
