"""Make calendar entries of tickets, and read them with two programs that share no code for time zones."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from ical.calendar_stream import IcsCalendarStream
from icalendar import Calendar

from tests.selling.rows import NOW
from ticket_service.adapters.calendar import ics
from ticket_service.domain.calendar_entries import Holder, TicketEntry, entries_of, organizer_of
from ticket_service.domain.drawings import Drawing, print_ticket
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat

ALICE: Final = Holder(user_id="alice")
ORGANIZER: Final = organizer_of("Concert Hall <tickets@example.com>")
# Programs keep the zones that they have read, so each file that is read by its rules names its zone anew.
_NUMBERS: Final = count()


def secrets_of(sold: SoldTicket) -> Secrets:
    """Return a code and a token that are derived from the ticket's id."""
    return Secrets(f"TKT-{sold.ticket.ticket_id.hex[-16:].upper()}", f"T1{sold.ticket.ticket_id.hex.upper()}")


def draw_entry(found: TicketEntry, language: str = "en") -> bytes:
    """Draw an entry at NOW."""
    printed = tuple(print_ticket(sold, secrets_of(sold)) for sold in found.tickets)
    return ics(Drawing(TicketFormat.ICS, printed, language, NOW, found.entry))


def entry_of(sold: SoldTicket, held: Sequence[SoldTicket] | None = None) -> bytes:
    """Draw the entry of a ticket of Alice, who has the tickets `held`, or only this one."""
    [found] = entries_of(ALICE, [sold], [sold] if held is None else held, ORGANIZER)
    return draw_entry(found)


def read_entry(content: bytes) -> tuple[Calendar, Any]:
    """Read a calendar with one entry by `icalendar`; return both."""
    calendar = Calendar.from_ical(content)
    [entry] = calendar.walk("VEVENT")
    return calendar, entry


def hours_read(content: bytes) -> set[tuple[datetime, datetime]]:
    """Return start and end in UTC as the two programs read them, by the name of the zone and by the rules in the file."""
    found = set()
    text = content.decode()
    # `ical` reads no observance without a rule.
    readings = [(text, read_by_icalendar), (text, read_by_ical), (renamed(text), read_by_icalendar)]
    if "RRULE" in text:
        readings.append((renamed(text), read_by_ical))
    for written, read in readings:
        starts, ends = read(written)
        found.add((starts.astimezone(UTC), ends.astimezone(UTC)))
    return found


def read_by_icalendar(text: str) -> tuple[datetime, datetime]:
    """Read the hours of the entry by `icalendar`, whose rules of zones are those of dateutil."""
    _, entry = read_entry(text.encode())
    return entry["dtstart"].dt, entry["dtend"].dt


def read_by_ical(text: str) -> tuple[datetime, datetime]:
    """Read the hours of the entry by `ical`, the calendar of Home Assistant, which checks the grammar strictly."""
    [entry] = IcsCalendarStream.calendar_from_ics(text).events
    starts: Any = entry.dtstart
    ends: Any = entry.dtend
    return starts, ends


def renamed(text: str) -> str:
    """Give the zone a name that no program has data for, so that the rules in the file decide."""
    return re.sub(r"TZID([=:])[^:\r]+", rf"TZID\1Event {next(_NUMBERS)}", text)
