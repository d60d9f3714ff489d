from collections.abc import Sequence
from dataclasses import replace

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.delivery.emails import Attachments, Email
from ticket_service.delivery.mail_files import MAX_TICKETS, FileStyle, MailFile, files_of, split
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.page_design import DEFAULT_DESIGN
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat, TicketStatus

PNG, PDF, ICS = TicketFormat.PNG, TicketFormat.PDF, TicketFormat.ICS
EVENT = make_event()
VOID = make_sold(EVENT, status=TicketStatus.CANCELLED)


def email(tickets: Sequence[SoldTicket], attachments: Attachments = Attachments.TICKET) -> Email:
    notification = Notification(EVENT.event_id, Kind.PURCHASE_COMPLETED)
    return Email("alice@example.com", "", attachments, EVENT, tuple(tickets), notification, "")


def files(mail: Email, max_separate: int = 3) -> list[MailFile]:
    secrets = [Secrets(f"TKT-{n}", f"T1-{n}") for n in range(len(mail.tickets))]
    return files_of(mail, secrets, FileStyle("en", DEFAULT_DESIGN, NOW, max_separate))


def shapes(found: Sequence[MailFile]) -> list[tuple[TicketFormat, int, bool]]:
    """Return the format of each file, the number of its tickets, and whether it removes them."""
    return [(file.drawing.format, len(file.drawing.tickets), file.drawing.is_removal) for file in found]


def test_each_ticket_of_a_small_order_has_its_own_files():
    found = files(email([make_sold(EVENT), make_sold(EVENT), VOID]))
    of_ticket = [(PNG, 1, False), (PDF, 1, False), (ICS, 1, False)]
    assert shapes(found) == [*of_ticket, *of_ticket, (ICS, 1, True)]
    assert [file.name for file in found[:3]] == ["TKT-0.png", "TKT-0.pdf", "TKT-0.ics"]
    assert [bool(file.content_id) for file in found] == [True, False, False, True, False, False, False]


def test_a_large_order_has_one_file_of_all_pages():
    found = files(email([*(make_sold(EVENT) for _ in range(160)), VOID]))
    assert shapes(found) == [(PDF, 160, False), (ICS, 160, False), (ICS, 1, True)]
    assert not any(file.content_id for file in found)


def test_a_removal_of_many_tickets_is_one_file():
    assert shapes(files(email([make_sold(EVENT)] * 9, Attachments.CALENDAR_REMOVAL))) == [(ICS, 9, True)]


def test_a_mail_about_no_ticket_has_no_files():
    assert files(email([], Attachments.NONE)) == []


def test_a_file_name_of_a_removal_contains_no_code():
    [file] = files(email([VOID]))
    assert "TKT" not in file.name


def test_an_order_beyond_the_size_of_a_mail_is_split():
    tickets = [make_sold(EVENT) for _ in range(2 * MAX_TICKETS + 1)]
    parts = split(email(tickets))
    assert [len(part.tickets) for part in parts] == [MAX_TICKETS, MAX_TICKETS, 1]
    assert [ticket for part in parts for ticket in part.tickets] == tickets
    assert [(part.part, part.parts) for part in parts] == [(1, 3), (2, 3), (3, 3)]
    whole = email([])
    assert split(whole) == [replace(whole, part=1, parts=1)]
