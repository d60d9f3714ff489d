"""Names in the scripts of the 100 most spoken languages: each letter has a glyph, in the right form and order.

The languages are those of Ethnologue with the most speakers; a script is tested once, and twice where languages need
letters of their own. The texts are read from the glyphs of the PDF, not from the text that it contains for copying.
"""

# ruff: noqa: RUF001 - letters of other scripts look like Latin ones

import uuid
from functools import cache

import pypdfium2
import pytest

from tests.environment.printed_pages import glyphs, opened
from tests.environment.qr_codes import read_qr_codes
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.adapters.page import pdf
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import TicketFormat

pytestmark = pytest.mark.slow

NAMES = {
    "Latin (English, Spanish, French, Portuguese, German and 20 more)": "Zoë Łukasz Čapek-Ñuñez Çelik",
    "Latin (Vietnamese)": "Nguyễn Thị Phượng",
    "Latin (Yoruba, Igbo, Hausa, Fula)": "Ọlọ́run Ṣẹ́gun Ŋgọzị Ƙanƙara ɗan Ɓala",
    "Latin (Turkish, Azerbaijani, Uzbek)": "Şəhla Iğdır Oʻzbekiston",
    "Cyrillic (Russian, Ukrainian, Serbian)": "Щербакова Їжак Ђорђевић",
    "Cyrillic (Kazakh, Tajik, Mongolian)": "Қазақстан Әйгерім Ҷумъа Өнөр",
    "Greek": "Ὀρφέας Ωμέγα",
    "Armenian": "Հայաստան Մեսրոպ",
    "Georgian": "საქართველო თამარ",
    "Hebrew": "שָׁלוֹם עולם",
    "Arabic (Arabic)": "مُحَمَّد الأوبرا لا إله",
    "Arabic (Persian)": "پژمان گلچین کیوان",
    "Arabic (Urdu, Punjabi)": "ٹھنڈا ڑے ںہے عائشہ",
    "Arabic (Pashto, Sindhi, Uyghur)": "ښځه ټولنه ڪراچي ٻار ئۇيغۇر",
    "Devanagari (Hindi, Marathi, Nepali, Bhojpuri, Maithili)": "क्षत्रिय श्री ज्ञानेश्वर हिन्दी ळ",
    "Bengali (Bengali, Assamese)": "বাংলা ক্ষুদ্র ৰাজশ্ৰী",
    "Gurmukhi (Punjabi)": "ਪੰਜਾਬੀ ਸ੍ਰੀ",
    "Gujarati": "ગુજરાતી ક્ષમા શ્રી",
    "Odia": "ଓଡ଼ିଆ କ୍ଷମା ଶ୍ରୀ",
    "Tamil": "தமிழ் ஸ்ரீ கொடி",
    "Telugu": "తెలుగు శ్రీ క్షమ",
    "Kannada": "ಕನ್ನಡ ಶ್ರೀ ಕ್ಷಮಾ",
    "Malayalam": "മലയാളം ശ്രീ ക്ഷമ",
    "Sinhala": "සිංහල ශ්‍රී",
    "Thai": "น้ำพุ ผู้ใหญ่ กรุงเทพฯ",
    "Lao": "ປະເທດລາວ ນ້ຳ",
    "Khmer": "ខ្មែរ ស្រី",
    "Burmese": "မြန်မာ က္ကသို့",
    "Ethiopic (Amharic, Tigrinya)": "አማርኛ ትግርኛ",
    "Chinese, simplified": "东京交响乐团 龙",
    "Chinese, traditional (Mandarin, Yue)": "東京交響樂團 龍 嘅",
    "Japanese": "さくら コンサート 齋藤 髙橋",
    "Korean": "서울 한국 뷁",
    "emoji": "🎫 🎉 👩‍👩‍👧 🇩🇪 ❤️",
    "several scripts": "Live שלום مرحبا 東京 🎫 हिन्दी",
}
# Groups of letters that have fewer glyphs than characters, where their script is shaped.
JOINED = {
    "Devanagari": "क्ष",
    "Bengali": "ক্ষ",
    "Gujarati": "ક્ષ",
    "Tamil": "ஸ்ரீ",
    "Malayalam": "ക്ക",
    "Sinhala": "ශ්‍ර",
    "family": "👩‍👩‍👧",
}
TOKEN = "T1" + "A" * 170
# The page shows ids of the ticket. With other ids it has other digits, and so another number of glyphs.
TICKET_ID, PURCHASE_ID, EVENT_ID = (uuid.UUID(int=number) for number in (1, 2, 3))


@cache
def draw(name: str, location: str = "", holder: str = "alice") -> bytes:
    event = make_event(event_id=EVENT_ID, name=name, location=location or name)
    sold = make_sold(event, ticket_id=TICKET_ID, purchase_id=PURCHASE_ID, user_id=holder)
    ticket = PrintedTicket(sold, Secrets("TKT-0123456789ABCDEF", TOKEN))
    return pdf(Drawing(TicketFormat.PDF, (ticket,), "en", NOW))


def missing(content: bytes) -> int:
    return sum(number == b"\0\0" for _, number in glyphs(content))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_letter_has_a_glyph(name):
    content = draw(name)
    assert missing(content) == 0
    with opened(content) as document:
        assert len(document) == 1


def test_a_letter_that_no_font_has_becomes_a_visible_box():
    content = draw("Osage 𐒰𐓐 end")
    assert missing(content) == 4, "two letters, in the name and in the place"
    with opened(content) as document:
        picture = document[0].render(scale=2).to_pil()
    assert read_qr_codes(picture) == [TOKEN]


@pytest.mark.parametrize("group", JOINED.values(), ids=JOINED)
def test_letters_join_as_their_script_wants(group):
    its = len(glyphs(draw("Name", group))) - len(glyphs(draw("Name", "x"))) + 1
    assert its < len(group)


def test_arabic_letters_have_the_form_of_their_place_in_the_word():
    alone, in_a_word = set(glyphs(draw("Name", "ب"))), set(glyphs(draw("Name", "ببب")))
    assert len(in_a_word) > len(alone)


@pytest.mark.parametrize(("name", "first", "last"), [("שלום", "ש", "ם"), ("مرحبا", "م", "ا"), ("Name", "N", "e")])
def test_a_word_begins_at_the_side_where_its_script_begins(name, first, last):
    with opened(draw("x", name)) as document:
        left = {letter: x for letter, x in _letters(document) if letter in {first, last}}
    assert (left[first] > left[last]) == (name != "Name")


@pytest.mark.parametrize(
    ("name", "in_order"),
    [
        # A text has the direction of its first letter, and parts of the other direction stay whole.
        ("שלום Live", ["L", "ש"]),
        ("Live שלום", ["L", "ש"]),
        ("12 שלום", ["ש", "1"]),
    ],
)
def test_mixed_directions_follow_the_first_letter(name, in_order):
    with opened(draw("x", name)) as document:
        left = dict(_letters(document))
    found = [left[letter] for letter in in_order]
    assert found == sorted(found)


def _letters(document: pypdfium2.PdfDocument) -> list[tuple[str, float]]:
    """Return the letters of the first page, each with the left edge of its first occurrence."""
    words = document[0].get_textpage()
    found: dict[str, float] = {}
    for index in range(words.count_chars()):
        letter = words.get_text_range(index, 1)
        found.setdefault(letter, words.get_charbox(index)[0])
    words.close()
    return list(found.items())
