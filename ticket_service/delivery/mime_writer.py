"""Write a mail as MIME: a plain part, an HTML part with QR codes, and attached pages and calendar entries."""

from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from uuid import UUID

from ticket_service.adapters.drawing import draw
from ticket_service.adapters.formats import Formats
from ticket_service.adapters.words import tag_of_formats
from ticket_service.delivery.emails import Attachments, Email
from ticket_service.delivery.mail_texts import MailTexts
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.domain.calendar_entries import CalendarOrganizer, is_valid, method_of, organizer_of
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.languages import look_up
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat, ticket_hours


class MimeWriter:
    """A writer of MIME messages.

    Args:
        texts: the texts of each language.
        language: the language of purchases that name no known language.
        sender: the From header, such as `Concert Hall <tickets@example.com>`.
        design: the design of the attached pages.
    """

    def __init__(self, texts: Mapping[str, MailTexts], language: str, sender: str, design: PageDesign) -> None:
        self._texts = texts
        self._design = design
        self._language = language
        self._sender = sender
        self._domain = parseaddr(sender)[1].rpartition("@")[2]

    @property
    def organizer(self) -> CalendarOrganizer:
        """Return the sender as the organizer of calendar entries."""
        return organizer_of(self._sender)

    def write(self, email: Email, secrets: Mapping[UUID, Secrets], message_id: str, now: datetime) -> EmailMessage:
        """Write one mail.

        Args:
            email: the mail.
            secrets: the code and the token of each ticket of the mail and of its calendar entries, by the ticket's id.
            message_id: equal for every repetition of the mail.
            now: the Date header.

        Raises:
            UndeliveredError: the address is not valid in a mail.
        """
        texts = self._texts[look_up(email.language, self._texts, self._language)]
        formats = Formats(tag_of_formats(email.language, texts.language))
        message = EmailMessage(policy=SMTP)
        facts = _facts(email, secrets, texts, formats)
        facts["subject"] = " ".join(texts.fill(email.text, "subject", facts).split())
        facts["lead"] = texts.fill(email.text, "lead", facts)
        try:
            message["To"] = Address(addr_spec=email.address)
        except (ValueError, IndexError) as error:
            # An older version stored addresses unchecked, and MIME headers cannot contain every valid address.
            raise UndeliveredError("the address cannot be written to", is_permanent=True) from error
        message["From"] = self._sender
        message["Subject"] = str(facts["subject"])
        message["Date"] = format_datetime(now)
        away = ".away" if email.text.endswith(".away") else ""
        message["Message-ID"] = f"<{message_id}{away}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(texts.render("mail.txt", facts))
        message.add_alternative(texts.render("mail.html", facts), subtype="html")
        html = message.get_body(("html",))
        for sold in email.tickets:
            its = secrets[sold.ticket.ticket_id]
            if email.attachments is Attachments.TICKET and is_valid(sold):
                if html is not None:
                    # The picture is a related part, because mail programs show none in data URLs.
                    name = f"{its.code}.png"
                    html.add_related(
                        _draw(TicketFormat.PNG, sold, its, now),
                        "image",
                        "png",
                        cid=f"<{_content_id(sold)}>",
                        filename=name,
                    )
                drawing = Drawing(
                    TicketFormat.PDF, (PrintedTicket(sold, its),), sold.language, now, design=self._design
                )
                message.add_attachment(draw(drawing), maintype="application", subtype="pdf", filename=f"{its.code}.pdf")
        for number, entry in enumerate(email.entries, start=1):
            printed = [PrintedTicket(sold, secrets[sold.ticket.ticket_id]) for sold in entry.tickets]
            drawing = Drawing(TicketFormat.ICS, tuple(printed), email.language or self._language, now, entry.entry)
            parameters = {"method": method_of(entry.entry), "charset": "utf-8"}
            name = "calendar.ics" if len(email.entries) == 1 else f"calendar-{number}.ics"
            message.add_attachment(draw(drawing), maintype="text", subtype="calendar", filename=name, params=parameters)
        return message


def _facts(email: Email, secrets: Mapping[UUID, Secrets], texts: MailTexts, formats: Formats) -> dict[str, object]:
    event, data = email.event, email.notification.data

    def is_shown(sold: SoldTicket) -> bool:
        return email.attachments is Attachments.TICKET and is_valid(sold)

    starts, ends = ticket_hours(email.tickets[0]) if email.tickets else (event.start_time, event.end_time)
    currency, minor_units = data.get("currency_code"), data.get("minor_units")
    is_money = isinstance(currency, str) and isinstance(minor_units, int) and minor_units > 0
    return {
        "language": texts.language,
        "direction": formats.direction,
        "event": event.name,
        "when": formats.period(starts, ends, event.time_zone),
        "where": event.location or (texts.words["labels"]["online"] if event.is_online else ""),
        "amount": formats.amount(str(currency), int(str(minor_units))) if is_money else "",
        "reason": data.get("reason", ""),
        "full_refund_until": _full_refund_until(email, formats),
        # The holder has another ticket for the same hours.
        "keeps_date": any(not found.entry.is_removed for found in email.entries),
        "order": str(email.notification.purchase_id),
        "tickets": [
            {
                "type": texts.words["ticket_types"][sold.ticket.ticket_type],
                "code": secrets[sold.ticket.ticket_id].code if is_shown(sold) else "",
                "picture": _content_id(sold) if is_shown(sold) else "",
                "is_good": is_valid(sold),
            }
            for sold in email.tickets
        ],
    }


def _full_refund_until(email: Email, formats: Formats) -> str:
    """Return the end of the right to a full refund after a move; "" without one, and for free tickets."""
    until = email.notification.data.get("full_refund_until")
    if not isinstance(until, str) or not any(sold.ticket.price for sold in email.tickets):
        return ""
    return formats.moment(datetime.fromisoformat(until), email.event.time_zone)


def _draw(ticket_format: TicketFormat, sold: SoldTicket, secrets: Secrets, now: datetime) -> bytes:
    return draw(Drawing(ticket_format, (PrintedTicket(sold, secrets),), sold.language, now))


def _content_id(sold: SoldTicket) -> str:
    return f"{sold.ticket.ticket_id}@ticketing"
