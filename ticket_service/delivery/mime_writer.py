"""Write a mail as MIME: a plain part, an HTML part with QR codes, and attached pages and calendar entries."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from uuid import UUID

from ticket_service.adapters.drawers import Drawers, Turn
from ticket_service.adapters.formats import Formats
from ticket_service.adapters.words import tag_of_formats
from ticket_service.delivery.emails import Email
from ticket_service.delivery.mail_files import FileStyle, MailFile, content_id, files_of, shows_code
from ticket_service.delivery.mail_texts import MailTexts
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.domain.calendar_entries import CalendarOrganizer, is_valid, method_of, organizer_of
from ticket_service.domain.languages import look_up
from ticket_service.domain.page_design import PageDesign
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import ticket_hours
from ticket_service.use_cases.rendering import MEDIA_TYPES


@dataclass(frozen=True, slots=True)
class MailDrawing:
    """The workers that draw the files of mails, and the settings of the files."""

    drawers: Drawers
    design: PageDesign
    # The number of tickets of a mail up to which each has files of its own.
    max_separate: int


class MimeWriter:
    """A writer of MIME messages.

    Args:
        texts: the texts of each language.
        language: the language of purchases that name no known language.
        sender: the From header, such as `Concert Hall <tickets@example.com>`.
        drawing: the drawing of the files.
    """

    def __init__(self, texts: Mapping[str, MailTexts], language: str, sender: str, drawing: MailDrawing) -> None:
        self._texts = texts
        self._drawing = drawing
        self._language = language
        self._sender = sender
        self._domain = parseaddr(sender)[1].rpartition("@")[2]

    @property
    def organizer(self) -> CalendarOrganizer:
        """Return the sender as the organizer of calendar entries."""
        return organizer_of(self._sender)

    async def write(
        self, email: Email, secrets: Mapping[UUID, Secrets], message_id: str, now: datetime
    ) -> EmailMessage:
        """Draw the files of a mail and write it; a repetition finds the files in the cache of the drawers.

        Args:
            email: the mail.
            secrets: the code and the token of each ticket of the mail and of its calendar entries, by the ticket's id.
            message_id: equal for every repetition of the mail.
            now: the Date header.

        Raises:
            UndeliveredError: the address is not valid in a mail.
            Failure: OVERLOADED.
        """
        style = FileStyle(email.language or self._language, self._drawing.design, now, self._drawing.max_separate)
        files = files_of(email, secrets, style)
        turn = Turn(message_id, max_waiting=1)
        contents = await self._drawing.drawers.draw_each([file.drawing for file in files], turn)
        # The text of a large order would block the event loop.
        return await asyncio.to_thread(
            self._compose, email, secrets, list(zip(files, contents, strict=True)), message_id, now
        )

    def _compose(
        self,
        email: Email,
        secrets: Mapping[UUID, Secrets],
        files: Sequence[tuple[MailFile, bytes]],
        message_id: str,
        now: datetime,
    ) -> EmailMessage:
        texts = self._texts[look_up(email.language, self._texts, self._language)]
        formats = Formats(tag_of_formats(email.language, texts.language))
        message = EmailMessage(policy=SMTP)
        pictures = {file.content_id for file, _ in files}
        facts = _facts(email, secrets, pictures, texts, formats)
        facts["subject"] = " ".join(texts.fill(email.text, "subject", facts).split())
        facts["lead"] = texts.fill(email.text, "lead", facts)
        try:
            message["To"] = Address(addr_spec=email.address)
        except (ValueError, IndexError) as error:
            # An older version stored addresses unchecked, and MIME headers cannot contain every valid address.
            raise UndeliveredError("the address cannot be written to", is_permanent=True) from error
        message["From"] = self._sender
        part = f" ({email.part}/{email.parts})" if email.parts > 1 else ""
        message["Subject"] = f"{facts['subject']}{part}"
        message["Date"] = format_datetime(now)
        away = ".away" if email.text.endswith(".away") else ""
        number = f".{email.part}" if email.part > 1 else ""
        message["Message-ID"] = f"<{message_id}{away}{number}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(texts.render("mail.txt", facts))
        message.add_alternative(texts.render("mail.html", facts), subtype="html")
        # The same part takes all pictures: after the first one, the message would return the text within that part.
        html = message.get_body(("html",))
        for file, content in files:
            _attach(message, html, file, content)
        return message


def _facts(
    email: Email, secrets: Mapping[UUID, Secrets], pictures: Collection[str], texts: MailTexts, formats: Formats
) -> dict[str, object]:
    event, data = email.event, email.notification.data
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
                "code": secrets[sold.ticket.ticket_id].code if shows_code(email, sold) else "",
                "picture": content_id(sold) if content_id(sold) in pictures else "",
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


def _attach(message: EmailMessage, html: MIMEPart | None, file: MailFile, content: bytes) -> None:
    main_type, _, subtype = MEDIA_TYPES[file.drawing.format].partition("/")
    if file.content_id and html is not None:
        # The picture is a related part, because mail programs show none in data URLs.
        html.add_related(content, main_type, subtype, cid=f"<{file.content_id}>", filename=file.name)
        return
    entry = file.drawing.entry
    parameters = {} if entry is None else {"method": method_of(entry), "charset": "utf-8"}
    message.add_attachment(content, maintype=main_type, subtype=subtype, filename=file.name, params=parameters)
