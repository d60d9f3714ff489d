"""A ticket as an entry for calendars (RFC 5545), in the event's own time zone.

The UID is the ticket's for ever and SEQUENCE the event's version, so a calendar that is given a newer entry replaces
the older one; METHOD CANCEL takes it out.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from ticket_service.domain.events import EventStatus
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket

# Outside of these years no zone has rules that a calendar could know, and Python may run out of years.
RULED_YEARS: Final = range(1971, 2500)
# The zone's rules are told for so long around the event: enough for the one change that may lie in it.
RULES_AROUND: Final = timedelta(days=366)


def ics(sold: SoldTicket, secrets: Secrets, now: datetime, *, is_gone: bool = False) -> bytes:
    """Write the entry, or what takes it out of a calendar where the event is called off or the ticket given back.

    Args:
        sold: the ticket.
        secrets: its code is in the entry.
        now: when it is written.
        is_gone: the ticket has become somebody else's: it goes out of the calendar of whose it was.
    """
    # With the first entry, or every start would wait for it.
    from icalendar import Calendar  # noqa: PLC0415
    from icalendar import Event as Entry  # noqa: PLC0415

    event = sold.event
    is_off = is_gone or event.status is EventStatus.CANCELLED or sold.ticket.status in CANCELLED_STATUSES
    starts, ends = admitted_hours(sold)
    zone = zone_of(event.time_zone, starts, ends)
    entry = Entry()
    entry.add("uid", f"{sold.ticket.ticket_id}@ticketing")
    entry.add("sequence", event.version)
    entry.add("dtstamp", now.astimezone(UTC))
    entry.add("last-modified", max(event.update_time, sold.ticket.update_time).astimezone(UTC))
    entry.add("summary", event.name)
    entry.add("dtstart", starts.astimezone(zone))
    entry.add("dtend", ends.astimezone(zone))
    entry.add("status", "CANCELLED" if is_off else "CONFIRMED")
    if not is_off:
        entry.add("description", f"{sold.ticket.ticket_type} {secrets.code}")
    if event.location:
        entry.add("location", event.location)
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", "-//ticketing//tickets v1//EN")
    calendar.add("method", "CANCEL" if is_off else "PUBLISH")
    calendar.add_component(entry)
    if zone is not UTC:
        calendar.add_missing_timezones((starts - RULES_AROUND).date(), (ends + RULES_AROUND).date())
    content: bytes = calendar.to_ical()
    return content


def admitted_hours(sold: SoldTicket) -> tuple[datetime, datetime]:
    """Return from when to when the event is for this ticket: a day ticket's own day, else all of it."""
    starts = max(sold.event.start_time, sold.ticket.valid_from_time or sold.event.start_time)
    ends = min(sold.event.end_time, sold.ticket.valid_until_time or sold.event.end_time)
    return (starts, ends) if starts < ends else (sold.event.start_time, sold.event.end_time)


def zone_of(name: str, *times: datetime) -> tzinfo:
    """Return the zone that times are shown in: the one named, or UTC where it has no rules for them."""
    return ZoneInfo(name) if name != "UTC" and all(time.year in RULED_YEARS for time in times) else UTC
