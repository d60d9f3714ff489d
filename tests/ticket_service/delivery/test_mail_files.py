from collections.abc import Sequence

from tests.selling.calendars import ALICE, ORGANIZER, secrets_of
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.delivery.emails import Attachments, Email
from ticket_service.delivery.mail_files import MAX_TICKETS, FileStyle, MailFile, files_of, split
from ticket_service.domain.calendar_entries import entries_of
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.page_design import DEFAULT_DESIGN
from ticket_service.domain.tickets import SoldTicket, TicketFormat, TicketStatus

PNG, PDF, ICS = TicketFormat.PNG, TicketFormat.PDF, TicketFormat.ICS
EVENT = make_event()
VOID = make_sold(EVENT, status=TicketStatus.CANCELLED)


def make_email(tickets: Sequence[SoldTicket], attachments: Attachments = Attachments.TICKET) -> Email:
    notification = Notification(EVENT.event_id, Kind.PURCHASE_COMPLETED)
    entries = () if attachments is Attachments.NONE else tuple(entries_of(ALICE, tickets, tickets, ORGANIZER))
    return Email("alice@example.com", "", attachments, EVENT, tuple(tickets), notification, "", entries)


def files(email: Email) -> list[MailFile]:
    """Return the files of a mail, of which up to three tickets have their own."""
    secrets = {sold.ticket.ticket_id: secrets_of(sold) for sold in email.tickets}
    return files_of(email, secrets, FileStyle("en", DEFAULT_DESIGN, NOW, max_separate=3))


def shapes(found: Sequence[MailFile]) -> list[tuple[TicketFormat, int]]:
    """Return the format of each file, and the number of its tickets."""
    return [(file.drawing.format, len(file.drawing.tickets)) for file in found]


def test_each_ticket_of_a_small_order_has_a_picture_and_a_page():
    first, second = make_sold(EVENT), make_sold(EVENT)
    found = files(make_email([first, second, VOID]))
    assert shapes(found) == [(PNG, 1), (PDF, 1), (PNG, 1), (PDF, 1), (ICS, 2)]
    codes = [secrets_of(sold).code for sold in (first, second)]
    assert [file.name for file in found] == [
        *(f"{code}.{end}" for code in codes for end in ("png", "pdf")),
        "calendar.ics",
    ]
    assert [bool(file.content_id) for file in found] == [True, False, True, False, False]


def test_a_large_order_has_one_file_of_all_pages():
    found = files(make_email([*(make_sold(EVENT) for _ in range(160)), VOID]))
    assert shapes(found) == [(PDF, 160), (ICS, 160)]
    assert not any(file.content_id for file in found)


def test_a_mail_without_codes_has_calendar_entries_only():
    assert [file.drawing.format for file in files(make_email([make_sold(EVENT)] * 9, Attachments.CALENDAR))] == [ICS]
    assert files(make_email([], Attachments.NONE)) == []


def test_an_order_beyond_the_size_of_a_mail_is_split():
    tickets = [make_sold(EVENT) for _ in range(2 * MAX_TICKETS + 1)]
    parts = split(make_email(tickets))
    assert [len(part.tickets) for part in parts] == [MAX_TICKETS, MAX_TICKETS, 1]
    assert [ticket for part in parts for ticket in part.tickets] == tickets
    assert [(part.part, part.parts) for part in parts] == [(1, 3), (2, 3), (3, 3)]
    assert [len(part.entries) for part in parts] == [1, 0, 0]
    whole = make_email([])
    assert split(whole) == [whole]
