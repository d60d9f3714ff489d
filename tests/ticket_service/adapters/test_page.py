from datetime import UTC, datetime, timedelta

import pypdfium2
import pytest
from nacl.signing import SigningKey

from tests.environment.qr_codes import read_qr_codes
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.adapters import page
from ticket_service.adapters.page import pdf
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.events import TicketType
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat
from ticket_service.domain.tokens import Signer
from ticketing.chassis.ids import new_id

pytestmark = pytest.mark.slow

SECRETS = Secrets(
    "TKT-0123456789ABCDEF", Signer(1, SigningKey.generate()).token(new_id(), new_id(), TicketType.STANDARD, 1)
)


def draw_pdf(sold: SoldTicket) -> bytes:
    return pdf(Drawing(TicketFormat.PDF, (PrintedTicket(sold, SECRETS),), "", NOW))


def read(content: bytes) -> tuple[str, list[str]]:
    """Return the text of the only page, and the decoded QR codes."""
    document = pypdfium2.PdfDocument(content)
    assert len(document) == 1
    sheet = document[0]
    assert tuple(map(round, sheet.get_size())) == (595, 842), "A4"
    words = sheet.get_textpage()
    text = words.get_text_range()
    codes = read_qr_codes(sheet.render(scale=2).to_pil())
    words.close()
    sheet.close()
    document.close()
    return text, codes


def test_page_shows_event_holder_and_a_readable_code():
    starts = datetime(2030, 5, 1, 18, tzinfo=UTC)
    event = make_event(
        start_time=starts, end_time=starts + timedelta(hours=3), doors_open_time=None, time_zone="Europe/Berlin"
    )
    text, codes = read(draw_pdf(make_sold(event, ticket_type=TicketType.EARLY_BIRD)))
    assert codes == [SECRETS.token]
    for words in ("Concert", "Hall", "Early Bird", "alice", "Wednesday, 01 May 2030, 20:00", "23:00", "Europe/Berlin"):
        assert words in text
    assert SECRETS.code in text


def test_page_shows_the_day_on_which_a_night_event_ends():
    starts = datetime(2030, 5, 1, 22, tzinfo=UTC)
    event = make_event(start_time=starts, end_time=starts + timedelta(hours=6), doors_open_time=None)
    assert "Thursday, 02 May 2030, 04:00" in read(draw_pdf(make_sold(event)))[0]


@pytest.mark.parametrize("name", ["Zoë Łukasz", "Привет Ωμέγα", "Zoë Łukasz 東京", "서울 한국"])
def test_page_shows_names_in_many_scripts(name):
    text, codes = read(draw_pdf(make_sold(make_event(name=name), user_id=name)))
    assert text.count(name) == 2
    assert codes == [SECRETS.token]


@pytest.mark.parametrize(
    "name", ["🎫 ไทย \u202e abc", "x" * 200, "東" * 200, "שלום עולם", "a\nb\tc\x07", "# **bold** <b>", ""]
)
def test_no_name_breaks_the_page_or_covers_the_code(name):
    event = make_event(name=name, location=name, is_online=True)
    _, codes = read(draw_pdf(make_sold(event, user_id=name)))
    assert codes == [SECRETS.token]


def test_page_without_the_extra_font_still_has_the_code(monkeypatch):
    monkeypatch.setattr(page, "FALLBACK_FONT", ("no_such_package", "font.ttc"))
    text, codes = read(draw_pdf(make_sold(make_event(name="Zoë 東京"))))
    assert "Zoë" in text
    assert codes == [SECRETS.token]
