"""The printed ticket: what stands on it, in which form, and that no input breaks it."""

import io
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import pypdf
import pytest
from nacl.signing import SigningKey
from PIL import Image

from tests.environment.printed_pages import glyphs, opened, pictures, tags, texts
from tests.environment.qr_codes import read_qr_codes, sides_of_qr_codes
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.adapters import page
from ticket_service.adapters.page import pdf
from ticket_service.adapters.words import LANGUAGES, words_of
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.events import AdmissionPolicy, Event, TicketType
from ticket_service.domain.page_design import PageDesign, Paper
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.tokens import Signer
from ticketing.chassis.ids import new_id

pytestmark = pytest.mark.slow

CODE = "TKT-0123456789ABCDEF"
SIGNER = Signer(1, SigningKey.generate())
POINTS_PER_MILLIMETRE = 72 / 25.4


def printed(event: Event, **ticket: object) -> PrintedTicket:
    token = SIGNER.token(new_id(), new_id(), TicketType.STANDARD, 1)
    return PrintedTicket(make_sold(event, **ticket), Secrets(CODE, token))


def drawing(*tickets: PrintedTicket, language: str = "en", design: PageDesign | None = None) -> Drawing:
    return Drawing(TicketFormat.PDF, tickets, language, NOW, design=design or PageDesign())


def draw(event: Event, *, language: str = "en", design: PageDesign | None = None, **ticket: object) -> bytes:
    return pdf(drawing(printed(event, **ticket), language=language, design=design))


def test_page_shows_what_a_ticket_needs():
    starts = datetime(2030, 5, 1, 18, tzinfo=UTC)
    event = make_event(
        start_time=starts,
        end_time=starts + timedelta(hours=3),
        doors_open_time=starts - timedelta(minutes=45),
        time_zone="Europe/Berlin",
    )
    ticket = printed(event, ticket_type=TicketType.EARLY_BIRD)
    content = pdf(drawing(ticket))
    [text] = texts(content)
    for words in (
        "Concert",
        "Wednesday, 1 May 2030",
        "20:00 – 23:00",  # noqa: RUF001 - CLDR puts a dash between times
        "Central European Summer Time",
        "19:15",
        "Hall",
        "Early bird",
        "alice",
        "€25.00",
        CODE,
        str(ticket.sold.ticket.purchase_id),
        "Admits once",
    ):
        assert words in text
    assert [read_qr_codes(picture) for picture in pictures(content)] == [[ticket.secrets.token]]


@pytest.mark.parametrize(
    ("buyer_id", "metadata", "holder"),
    [
        ("user-4711", {"holder_name": "Anna\tHolm"}, "Anna Holm"),
        ("user-4711", {"holder_name": ""}, "user-4711"),
        ("user-4711", {"holder_name": 7}, "user-4711"),
        # The ticket was transferred: the name is that of the buyer.
        ("buyer", {"holder_name": "Anna Holm"}, "user-4711"),
    ],
)
def test_the_page_names_the_holder_by_name_until_a_transfer(buyer_id: str, metadata: dict[str, Any], holder: str):
    ticket = printed(make_event(), user_id="user-4711")
    sold = replace(ticket.sold, buyer_id=buyer_id, metadata=metadata)
    [text] = texts(pdf(drawing(replace(ticket, sold=sold))))
    assert [name in text for name in ("Anna Holm", "user-4711")] == [holder == "Anna Holm", holder == "user-4711"]


def test_tickets_of_a_purchase_are_pages_of_one_file():
    event = make_event()
    tickets = [printed(event, user_id=f"guest-{number}") for number in range(3)]
    content = pdf(drawing(*tickets))
    shown = texts(content)
    assert ["guest-0" in shown[0], "guest-1" in shown[1], "guest-2" in shown[2]] == [True] * 3
    assert ["1 / 3" in shown[0], "3 / 3" in shown[2]] == [True] * 2
    assert [read_qr_codes(picture) for picture in pictures(content)] == [[ticket.secrets.token] for ticket in tickets]


def test_a_single_ticket_has_no_number():
    assert "1 / 1" not in texts(draw(make_event()))[0]


@pytest.mark.parametrize(
    ("hours", "shown"),
    [((22, 28), ["Wednesday, 1 May 2030", "Thursday, 2 May 2030", "04:00"]), ((18, 21), ["18:00", "21:00"])],
)
def test_page_shows_the_day_on_which_a_night_event_ends(hours, shown):
    day = datetime(2030, 5, 1, tzinfo=UTC)
    starts, ends = (day + timedelta(hours=hour) for hour in hours)
    [text] = texts(draw(make_event(start_time=starts, end_time=ends, doors_open_time=None)))
    assert all(words in text for words in shown)


def test_page_shows_the_offset_of_an_hour_that_occurs_twice():
    starts = datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    event = make_event(
        start_time=starts, end_time=starts + timedelta(hours=1), doors_open_time=None, time_zone="Europe/Berlin"
    )
    [text] = texts(draw(event))
    assert "GMT+02:00" in text
    assert "GMT+01:00" in text


@pytest.mark.parametrize(("language", "when"), [("de", "Samstag, 1. Juni 2030"), ("fr", "samedi 1 juin 2030")])
def test_words_and_dates_have_the_language_of_the_purchase(language, when):
    event = make_event(start_time=NOW, end_time=NOW + timedelta(hours=2), doors_open_time=None)
    [text] = texts(draw(event, language=language))
    assert when in text
    assert words_of(language).admission[AdmissionPolicy.SINGLE_ENTRY].split(".")[0] in text


@pytest.mark.parametrize("language", [*LANGUAGES, "es-419", "de-AT", "zh-Hant-TW", "tlh", ""])
def test_every_language_has_a_page_without_a_missing_glyph(language):
    event = make_event(is_online=True, location="", time_zone="Asia/Kathmandu")
    content = draw(event, language=language)
    assert all(number != b"\0\0" for _, number in glyphs(content))
    assert CODE in pypdf.PdfReader(io.BytesIO(content)).pages[0].extract_text()


@pytest.mark.parametrize(
    ("paper", "width", "height"), [(Paper.A4, 210, 297), (Paper.LETTER, 215.9, 279.4), (Paper.PHONE, 100, None)]
)
def test_each_paper_has_its_size_and_a_code_of_30_millimetres(paper, width, height):
    ticket = printed(make_event())
    content = pdf(drawing(ticket, design=PageDesign(paper)))
    with opened(content) as document:
        size = [side / POINTS_PER_MILLIMETRE for side in document[0].get_size()]
    assert size[0] == pytest.approx(width, abs=0.1)
    assert height is None or size[1] == pytest.approx(height, abs=0.1)
    [picture] = pictures(content, dots_per_inch=25.4 * 4)
    assert read_qr_codes(picture) == [ticket.secrets.token]
    # Four dots per millimetre.
    assert min(sides_of_qr_codes(picture)) >= 30 * 4


def test_organizer_has_colour_logo_terms_and_paper(tmp_path):
    Image.new("RGB", (60, 20), "#00a000").save(tmp_path / "hall.png")
    own = {"paper": "LETTER", "color": "#ffd700", "logo": "hall.png", "terms": "Nur mit Ausweis."}
    content = draw(make_event(metadata={"ticket_page": own}), design=PageDesign(logos=tmp_path))
    [picture] = [one.convert("RGB") for one in pictures(content)]
    colors = {color for _, color in picture.getcolors(1_000_000) or []}
    assert {(0xFF, 0xD7, 0x00), (0x00, 0xA0, 0x00)} <= colors
    assert "Nur mit Ausweis." in texts(content)[0]
    assert ("/Figure", words_of("en").labels["logo"]) in tags(content)
    assert picture.width / picture.height == pytest.approx(215.9 / 279.4, abs=0.01)


def test_page_without_its_logo_is_drawn_and_logged(tmp_path, caplog):
    metadata = {"ticket_page": {"logo": "gone.png"}}
    with caplog.at_level(logging.WARNING):
        content = draw(make_event(metadata=metadata), design=PageDesign(logos=tmp_path))
    assert CODE in texts(content)[0]
    assert "gone.png is not a file" in caplog.text


def test_page_is_tagged_and_reads_the_code_aloud():
    content = draw(make_event(name="Größenwahn"), language="de")
    reader = pypdf.PdfReader(io.BytesIO(content))
    assert reader.metadata is not None
    assert reader.metadata.title == "Größenwahn"
    catalogue: Any = reader.trailer["/Root"]
    assert catalogue["/Lang"] == "de"
    assert b"<pdfuaid:part>1</pdfuaid:part>" in content
    assert ("/Figure", f"QR-Code des Tickets mit dem Code {CODE}") in tags(content)
    assert [tag for tag, _ in tags(content)].count("/H1") == 1


HARD_TEXTS = {
    "capitals": "W" * 200,
    "small letters": "i" * 200,
    "Chinese": "東" * 200,
    "Arabic word": "مرحبا" * 40,
    "Devanagari word": "क्षत्रिय" * 25,
    "Thai": "สวัสดี" * 33,
    "emoji": "👩‍👩‍👧🎫" * 20,
    "newlines": "a\n" * 90,
    "controls": "a\nb\tc\x07\x00\u202e\u2066 abc",
    "blanks": " \u200b\u00a0 ",
    "zero-width": "\u200b\u200d",
    "markup": '#import "x" *bold* $x$ <b> \\ ]] { } // /* `raw` @ref ~ -- = ',
    "nothing": "",
    "unknown letters": "𐒀𐒁𞤀",
    "combining marks": "e" + "\u0301" * 198,
}


@pytest.mark.parametrize(("text", "paper"), list(zip(HARD_TEXTS.values(), cycle(Paper), strict=False)), ids=HARD_TEXTS)
def test_no_text_breaks_the_page_or_covers_the_code(text, paper):
    event = make_event(name=text, location=text[:255], is_online=True, metadata={"ticket_page": {"terms": text[:300]}})
    ticket = printed(event, user_id=(text + text)[:255])
    content = pdf(drawing(ticket, design=PageDesign(paper)))
    [picture] = pictures(content)
    assert read_qr_codes(picture) == [ticket.secrets.token]
    assert CODE in texts(content)[0]


@pytest.mark.parametrize("paper", Paper)
def test_long_texts_end_inside_the_page(paper):
    """Everything is as long as the contract allows, in the widest letters."""
    event = make_event(name="W" * 200, location="W" * 255, metadata={"ticket_page": {"terms": "W " * 150}})
    [picture] = pictures(draw(event, user_id="W" * 255, design=PageDesign(paper)))
    grey = picture.convert("L")
    edge = grey.crop((grey.width - 8, int(grey.height * 0.1), grey.width, grey.height))
    assert edge.getextrema() == (255, 255)


def test_long_name_is_smaller_and_still_whole():
    name = " ".join(f"word{number}" for number in range(25))
    assert name in texts(draw(make_event(name=name)))[0]


def test_page_without_font_packages_still_has_the_code(monkeypatch):
    monkeypatch.setattr(page, "FONT_PACKAGES", ())
    monkeypatch.setattr(page, "fonts", page.fonts.__wrapped__)
    monkeypatch.setattr(page, "compiler", page.compiler.__wrapped__)
    ticket = printed(make_event(name="Zoë 東京"))
    content = pdf(drawing(ticket))
    assert "Zoë" in texts(content)[0]
    assert [read_qr_codes(picture) for picture in pictures(content)] == [[ticket.secrets.token]]


def test_drawing_logs_nothing(caplog):
    with caplog.at_level(logging.DEBUG):
        draw(make_event(name="Zoë 東京 שלום"))
    assert caplog.records == []


def test_one_broken_metadata_field_does_not_spoil_the_others():
    own = {"paper": "A0", "color": "red", "logo": "../x.png", "terms": "Keep", "unknown": 1}
    content = draw(make_event(metadata={"ticket_page": own}))
    assert "Keep" in texts(content)[0]
