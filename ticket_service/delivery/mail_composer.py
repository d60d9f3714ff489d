"""Compose a mail as MIME: a plain part, an HTML part with QR codes, and the attached files."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage, MIMEPart
from email.utils import format_datetime, parseaddr
from typing import Any, Final
from uuid import UUID

from ticket_service.adapters.formats import Formats
from ticket_service.adapters.logos import logo_fault
from ticket_service.adapters.words import known_language, tag_of_formats
from ticket_service.convert.addresses import mailbox
from ticket_service.delivery.emails import Email
from ticket_service.delivery.flowed import flowed
from ticket_service.delivery.mail_files import MailFile, content_id, shows_code
from ticket_service.delivery.mail_headers import MailPolicy, mailbox_header, text_header
from ticket_service.delivery.mail_texts import MailTexts
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.domain.calendar_entries import is_valid, method_of
from ticket_service.domain.languages import look_up
from ticket_service.domain.page_design import PageDesign, design_of, ink_on
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import ticket_hours
from ticket_service.use_cases.rendering import MEDIA_TYPES

# The id of the picture within its mail.
LOGO_ID: Final = "logo@ticketing"


class MailComposer:
    """A composer of MIME messages.

    Args:
        texts: the texts of each language.
        language: the language of purchases that name no known language.
        sender: the From header, such as `Concert Hall <tickets@example.com>`, with its domain in A-labels.
        design: the colour and the logo of mails, as of pages, for events without their own.
    """

    def __init__(self, texts: Mapping[str, MailTexts], language: str, sender: str, design: PageDesign) -> None:
        self._design = design
        self._texts = texts
        self._language = language
        self.sender_name, self.address = parseaddr(sender)
        self._domain = self.address.rpartition("@")[2]

    def language_of(self, email: Email) -> str:
        """Return the tag of the language of a mail: that of the purchase if it has texts."""
        return email.language if look_up(email.language, self._texts, "") else self._language

    def language_of_files(self, email: Email) -> str:
        """Return the tag of the language of the files: the default one for a language that only an operator's mails have."""
        return known_language(self.language_of(email), self._language)

    def compose(
        self,
        email: Email,
        secrets: Mapping[UUID, Secrets],
        files: Sequence[tuple[MailFile, bytes]],
        message_id: str,
        now: datetime,
    ) -> EmailMessage:
        """Compose a mail with its drawn files; the other arguments are those of `MimeWriter.write`.

        Raises:
            UndeliveredError: the address is not valid in a mail.
        """
        tag = self.language_of(email)
        texts = self._texts[look_up(tag, self._texts, self._language)]
        formats = Formats(tag_of_formats(tag, texts.language))
        message = EmailMessage(policy=MailPolicy())
        design = design_of(email.event.metadata, self._design)
        logo = _logo(design)
        facts = _facts(email, secrets, {file.content_id for file, _ in files}, texts, formats)
        facts |= {"color": design.color, "ink": ink_on(design.color), "logo": LOGO_ID if logo is not None else ""}
        facts["buttons"] = _buttons(files, texts)
        # Within a sentence, a name keeps its direction.
        within = {**facts, **facts["isolated"]}
        part = f" ({email.part}/{email.parts})" if email.parts > 1 else ""
        facts["subject"] = " ".join(texts.fill(email.text, "subject", within).split()) + part
        facts["lead"] = texts.fill(email.text, "lead", within)
        self._write_headers(message, email, str(facts["subject"]), message_id)
        message["Date"] = format_datetime(now)
        message.set_content(flowed(texts.render("mail.txt", facts)), params={"format": "flowed", "delsp": "yes"})
        message.add_alternative(texts.render("mail.html", facts), subtype="html")
        # The same part takes all pictures: after the first one, the message would return the text within that part.
        html = message.get_body(("html",))
        if logo is not None and html is not None:
            html.add_related(
                logo,
                "image",
                "png" if design.logo.lower().endswith(".png") else "jpeg",
                cid=f"<{LOGO_ID}>",
                filename=design.logo,
            )
        for file, content in files:
            if file.name:
                _attach(message, html, file, content)
        for inner in message.walk():
            if inner.get_content_type() == "multipart/related":
                # RFC 2387 requires the type of the part that the others belong to.
                inner.set_param("type", "text/html")
        # Last, because the library moves headers of this kind into the first part when it adds another one.
        message["Content-Language"] = texts.language
        return message

    def _write_headers(self, message: EmailMessage, email: Email, subject: str, message_id: str) -> None:
        address = mailbox(email.address)
        if address is None:
            # An older version stored addresses unchecked.
            raise UndeliveredError("the address cannot be written to", is_permanent=True)
        message["To"] = mailbox_header("To", "", address)
        message["From"] = mailbox_header("From", self.sender_name, self.address)
        message["Subject"] = text_header("Subject", subject)
        # A notification has a mail for each address. One person may read two of them, and a mail server drops the second
        # mail with one id.
        to = hashlib.sha256(address.lower().encode()).hexdigest()[:12]
        away = ".away" if email.text.endswith(".away") else ""
        number = f".{email.part}" if email.part > 1 else ""
        message["Message-ID"] = f"<{message_id}.{to}{away}{number}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"


def _logo(design: PageDesign) -> bytes | None:
    """Read the logo; None without one, and for one that cannot be shown, which the page has logged."""
    if design.logos is None or not design.logo or logo_fault(design.logos, design.logo) is not None:
        return None
    return (design.logos / design.logo).read_bytes()


def _facts(
    email: Email, secrets: Mapping[UUID, Secrets], pictures: Collection[str], texts: MailTexts, formats: Formats
) -> dict[str, Any]:
    event, data = email.event, email.notification.data
    starts, ends = ticket_hours(email.tickets[0]) if email.tickets else (event.start_time, event.end_time)
    currency, minor_units = data.get("currency_code"), data.get("minor_units")
    where = ", ".join(event.location.split("\n")) or (texts.words["labels"]["online"] if event.is_online else "")
    reason = " ".join(str(data.get("reason", "")).split())
    is_money = isinstance(currency, str) and isinstance(minor_units, int) and minor_units > 0
    return {
        "language": texts.language,
        "direction": formats.direction,
        "start": "right" if formats.direction == "rtl" else "left",
        "event": event.name,
        "when": formats.period(starts, ends, event.time_zone),
        "where": where,
        "amount": formats.amount(str(currency), int(str(minor_units))) if is_money else "",
        "reason": reason,
        "isolated": {
            name: formats.isolated(text) for name, text in (("event", event.name), ("where", where), ("reason", reason))
        },
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


def _buttons(files: Sequence[tuple[MailFile, bytes]], texts: MailTexts) -> dict[str, list[tuple[str, str]]]:
    """Return the text and the URL of the buttons of each ticket, by its code."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file, content in files:
        if url := file.url if file.name else content.decode():
            [ticket] = file.drawing.tickets
            button = (texts.words["labels"][file.drawing.format.lower()], url)
            found.setdefault(ticket.secrets.code, []).append(button)
    return found


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
