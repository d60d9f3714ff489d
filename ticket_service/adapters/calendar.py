"""Write a ticket as a calendar entry (RFC 5545), in the time zone of the event.

The UID contains the ticket id and SEQUENCE is the version of the event, so a calendar replaces an older entry by a
newer one. METHOD CANCEL removes the entry.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from ticket_service.domain.events import EventStatus
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket
from ticket_service.domain.zones import zone_of

# The entry contains the rules of the zone for this time before and after the event, with every clock change in it.
RULES_AROUND: Final = timedelta(days=366)


def ics(sold: SoldTicket, secrets: Secrets, now: datetime, *, is_removed: bool = False) -> bytes:
    """Write the entry of a ticket, or its removal if the ticket or the event is cancelled or `is_removed` is true.

    The entry contains the code of `secrets`, and `now` as DTSTAMP.
    """
    # Imported with the first entry, so that a start does not wait for the library.
    from icalendar import Calendar  # noqa: PLC0415
    from icalendar import Event as Entry  # noqa: PLC0415

    event = sold.event
    is_cancelled = is_removed or event.status is EventStatus.CANCELLED or sold.ticket.status in CANCELLED_STATUSES
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
        entry.add("description", f"{sold.ticket.ticket_type} {secrets.code}")
    if event.location:
        entry.add("location", event.location)
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", "-//ticketing//tickets v1//EN")
    calendar.add("method", "CANCEL" if is_cancelled else "PUBLISH")
    calendar.add_component(entry)
    if zone is not UTC:
        calendar.add_missing_timezones((starts - RULES_AROUND).date(), (ends + RULES_AROUND).date())
    content: bytes = calendar.to_ical()
    return content


def ticket_hours(sold: SoldTicket) -> tuple[datetime, datetime]:
    """Return the start and the end of a ticket: of the day for a day ticket, otherwise of the event."""
    starts = max(sold.event.start_time, sold.ticket.valid_from_time or sold.event.start_time)
    ends = min(sold.event.end_time, sold.ticket.valid_until_time or sold.event.end_time)
    return (starts, ends) if starts < ends else (sold.event.start_time, sold.event.end_time)
