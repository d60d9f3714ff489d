"""Every mail of every kind in every language, composed and read again as a mail program reads it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.environment.qr_codes import read_qr_codes
from tests.selling.calendars import ORGANIZER, secrets_of
from tests.selling.rows import NOW, make_event, make_sold
from tests.ticket_service.delivery.test_flowed import joined
from ticket_service.adapters.formats import Formats
from ticket_service.adapters.rendering import png
from ticket_service.delivery.emails import MAILED, Email, MailContext, emails_for
from ticket_service.delivery.flowed import WIDTH, columns
from ticket_service.delivery.mail_composer import MailComposer
from ticket_service.delivery.mail_files import FileStyle, MailFile, files_of
from ticket_service.delivery.mail_texts import BUILT_IN, read_texts
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.page_design import DEFAULT_DESIGN, PageDesign
from ticket_service.domain.tickets import TicketFormat

TEXTS = read_texts(None)
RIGHT_TO_LEFT = {"ar", "he"}
SENDER = "Köln Hall <tickets@xn--mnchen-3ya.de>"
DATA: dict[str, object] = {
    "currency_code": "EUR",
    "minor_units": 2_500,
    "reason": "storm\nand rain",
    "issue": 2,
    "full_refund_until": (NOW + timedelta(days=14)).isoformat(),
}
# A name that is HTML, template and in both directions.
NAME = "Gäste & <b>{{ קונצרט }}</b>"
VOID = frozenset({"meta", "img", "br"})


def emails(kind: Kind, language: str, **changes: Any) -> list[Email]:
    event = make_event(**{"name": NAME, "time_zone": "Europe/Berlin", "location": "Hall\nBerlin"} | changes)
    sold = [make_sold(event) for _ in range(2 if kind is Kind.PURCHASE_COMPLETED else 1)]
    # Mails about one ticket and about money without a ticket exist too.
    notification = Notification(event.event_id, kind, sold[0].ticket.purchase_id, data=DATA)
    context = MailContext(
        notification,
        event,
        [] if kind in {Kind.HOLD_EXPIRED, Kind.REFUND_FAILED} else sold,
        "alice@münchen.de",
        {one.ticket.ticket_id: "alice@münchen.de" for one in sold},
        ORGANIZER,
        language=language,
    )
    return emails_for(context)


def beginning(file: MailFile) -> bytes:
    """Return the first bytes of a file; drawing it would take most of the time of these tests."""
    return {TicketFormat.PNG: b"\x89PNG\r\n", TicketFormat.PDF: b"%PDF-1.7", TicketFormat.ICS: b"BEGIN:VCALENDAR\r\n"}[
        file.drawing.format
    ]


def compose(
    email: Email, design: PageDesign = DEFAULT_DESIGN, draw: Callable[[MailFile], bytes] = beginning
) -> EmailMessage:
    """Compose a mail with its files, and read it again."""
    composer = MailComposer(TEXTS, "en", SENDER, design)
    secrets = {sold.ticket.ticket_id: secrets_of(sold) for sold in email.tickets}
    files = files_of(email, secrets, FileStyle(composer.language_of(email), design, NOW, 10))
    drawn = [(file, draw(file)) for file in files]
    sent = composer.compose(email, secrets, drawn, "id-1", NOW).as_bytes()
    assert sent.isascii()
    lines = sent.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    message: Any = message_from_bytes(sent, policy=policy.default)
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


class Outline(HTMLParser):
    """The elements and the text of an HTML document, whose elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def check_headers(message: EmailMessage, language: str) -> None:
    assert str(message["to"]) == "alice@xn--mnchen-3ya.de"
    [sender] = message["from"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Köln Hall", "tickets@xn--mnchen-3ya.de")
    assert NAME in str(message["subject"]).replace("\u2068", "").replace("\u2069", "")
    assert re.fullmatch(r"<id-1\.[0-9a-f]{12}(\.away)?@xn--mnchen-3ya\.de>", str(message["message-id"]))
    assert message["date"].datetime == NOW
    assert message["auto-submitted"] == "auto-generated"
    assert message["content-language"] == language
    assert "list-unsubscribe" not in message
    assert "{{" not in str(message["subject"]).replace(NAME, "").replace("{{ קונצרט }}", "")


def shape(part: Any) -> Any:
    """Return the structure of a mail: a type, or a type with its parts."""
    if not part.is_multipart():
        return part.get_content_type()
    return part.get_content_type(), [shape(inner) for inner in part.iter_parts()]


def check_structure(message: Any) -> None:
    names = [part.get_content_type() for part in message.walk()]
    html: Any = "text/html"
    if "multipart/related" in names:
        html = ("multipart/related", ["text/html", *["image/png"] * names.count("image/png")])
        [related] = [part for part in message.walk() if part.get_content_type() == "multipart/related"]
        assert related.get_param("type") == "text/html"
    text: Any = ("multipart/alternative", ["text/plain", html])
    files = [part.get_content_type() for part in message.iter_attachments()]
    assert shape(message) == (("multipart/mixed", [text, *files]) if files else text)


def check_plain(message: EmailMessage) -> None:
    part = message.get_body(("plain",))
    assert part is not None
    assert (part.get_param("format"), part.get_param("delsp")) == ("flowed", "yes")
    text = body(message, "plain")
    assert all(columns(line) <= WIDTH + 3 or " " not in line.strip() for line in text.split("\n"))
    assert "\n\n\n" not in text
    assert text.count("<b>") == text.count(NAME) or "<b>" in joined(text)
    assert "&amp;" not in text
    assert not re.search(r"<(?!/?b>)|cid:|style=", text)
    # Isolates are closed.
    assert text.count("\u2068") == text.count("\u2069") > 0


def check_html(message: EmailMessage, language: str) -> None:
    html = body(message, "html")
    outline = Outline(html)
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    [root], table = outline.all("html"), outline.all("table")[0]
    assert (root["lang"], root["dir"]) == (table["lang"], table["dir"]) == (language, direction)
    metas = {meta.get("name"): meta["content"] for meta in outline.all("meta") if "content" in meta}
    assert metas["color-scheme"] == "light dark"
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert "@media (prefers-color-scheme: dark)" in html
    assert len(outline.all("h1")) == 1
    assert outline.all("title")
    # Layout tables have no meaning; the table of facts has row headers.
    assert [table for table in outline.all("table") if table.get("role") != "presentation"] != []
    assert all(cell["scope"] == "row" for cell in outline.all("th"))
    # No fixed width exceeds a phone.
    assert all(int(str(one["width"])) <= 320 for one in outline.all("img") if "width" in one)
    assert NAME in outline.text
    pictures = {part["content-id"]: part for part in message.walk() if part.get_content_type() == "image/png"}
    shown = [image for image in outline.all("img") if image["width"] == "220"]
    assert {f"<{str(image['src']).removeprefix('cid:')}>" for image in shown} == set(pictures)
    for image in shown:
        assert "TKT-" in str(image["alt"])
        assert "background:#ffffff" in str(image["style"])


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_mail_of_a_language_is_well_formed(language):
    texts = set()
    for kind in MAILED:
        found = emails(kind, language)
        if kind is Kind.TICKET_TRANSFERRED:
            found.append(replace(found[0], text=f"{kind}.away", tickets=found[0].tickets[:1]))
        assert found
        for email in found:
            texts.add(email.text)
            message = compose(email)
            check_headers(message, language)
            check_structure(message)
            check_plain(message)
            check_html(message, language)
    assert texts == TEXTS[language].mails.keys()


def test_the_code_of_a_mail_is_read_with_its_quiet_zone():
    def draw(file: MailFile) -> bytes:
        is_picture = file.drawing.format is TicketFormat.PNG
        return png(file.drawing.tickets[0].secrets.token) if is_picture else b""

    message = compose(emails(Kind.PURCHASE_COMPLETED, "en")[0], draw=draw)
    [first, _] = [part for part in message.walk() if part.get_content_type() == "image/png"]
    [code] = read_qr_codes(first.get_content())
    assert code.startswith("T1")


@pytest.mark.parametrize(
    ("wanted", "language", "amount"),
    [("de-AT", "de", "€ 25,00"), ("pt-BR", "pt", "€ 25,00"), ("zh-TW", "zh-Hant", "€25.00"), ("eo", "en", "€25.00")],
)
def test_the_closest_language_is_taken_with_the_formats_of_the_region(wanted, language, amount):
    message = compose(emails(Kind.REFUND_MADE, wanted)[0])
    assert message["content-language"] == language
    assert amount in body(message, "plain").replace("\xa0", " ")


def test_files_have_the_default_language_where_only_mails_have_the_one_of_the_buyer(tmp_path: Path):
    (tmp_path / "eo.toml").write_text((BUILT_IN / "en.toml").read_text())
    composer = MailComposer(read_texts(tmp_path), "de", SENDER, DEFAULT_DESIGN)
    for language, of_mail, of_files in (("eo", "eo", "de"), ("fr-CA", "fr-CA", "fr-CA"), ("sw", "de", "de")):
        [email] = emails(Kind.REFUND_MADE, language)
        assert (composer.language_of(email), composer.language_of_files(email)) == (of_mail, of_files)


def test_mails_to_two_addresses_have_two_ids():
    [email] = emails(Kind.EVENT_CHANGED, "en")
    ids = [
        compose(replace(email, address=to))["message-id"] for to in ("a@example.com", "b@example.com", "A@example.com")
    ]
    assert ids[0] == ids[2] != ids[1]


def isolated_names(text: str) -> Iterator[str]:
    return (found[1] for found in re.finditer("\u2068([^\u2069]*)\u2069", text))


def test_a_name_in_another_direction_does_not_reorder_the_sentence():
    plain, hebrew = "Concert", "קונצרט (2030)"
    [latin] = emails(Kind.EVENT_CHANGED, "en", name=plain, location="Hall")
    # Some old programs show isolates as boxes, so no mail has one in vain.
    assert "\u2068" not in body(compose(latin), "plain")
    for language, name in (("en", hebrew), ("ar", hebrew), ("he", plain)):
        message = compose(emails(Kind.EVENT_CHANGED, language, name=name)[0])
        assert name in list(isolated_names(str(message["subject"])))
        assert name in list(isolated_names(body(message, "plain")))
    assert Formats("he").isolated("") == ""


def test_mails_have_the_colour_and_the_logo_of_the_event(tmp_path: Path):
    Image.new("RGB", (80, 40), "red").save(tmp_path / "hall.png")
    design = PageDesign(color="#ffee00", logos=tmp_path)
    own = {"ticket_page": {"logo": "hall.png", "color": "#00aa00"}}
    [email] = emails(Kind.REFUND_MADE, "en", metadata=own)
    message = compose(email, design)
    html = body(message, "html")
    assert "background:#00aa00" in html
    [picture] = [part for part in message.walk() if part["content-id"] == "<logo@ticketing>"]
    assert picture.get_content()[:4] == b"\x89PNG"
    [logo] = [image for image in Outline(html).all("img") if image["src"] == "cid:logo@ticketing"]
    assert logo["alt"] == "Logo of the organizer"
    [plain] = emails(Kind.REFUND_MADE, "en")
    html = body(compose(plain, design), "html")
    # Black letters on yellow.
    assert "background:#ffee00;border-radius:8px 8px 0 0;padding:24px 28px;color:#000000" in html
    assert "<img" not in html
    # A file that went away costs the mail its logo, nothing else.
    (tmp_path / "hall.png").unlink()
    assert "logo@ticketing" not in body(compose(email, design), "html")


def test_an_address_that_no_mail_can_be_written_to_fails_for_good():
    [email] = emails(Kind.REFUND_MADE, "en")
    with pytest.raises(UndeliveredError, match="cannot be written to") as caught:
        compose(replace(email, address="no address"))
    assert caught.value.is_permanent
