import unicodedata

import pytest

from ticketing.chassis.texts import MAX_COMBINING, composed, fault_of_lines, fault_of_name, with_line_feeds


@pytest.mark.parametrize(
    "name",
    [
        "Concert",
        "Zürich",
        "O’Brien & Söhne GmbH – Live",  # noqa: RUF001 - a real name
        # Emoji joined by ZWJ, a keycap and a flag with variation selector and tags.
        "👩\u200d👩\u200d👧",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        # Persian with ZWNJ, Marathi and Sinhala with ZWJ, Mongolian with a selector.
        "می\u200cخواهم",  # noqa: RUF001 - Arabic letters
        "र\u094d\u200dय",
        "ශ\u0dca\u200dරී",
        "ᠮᠣᠩᠭᠣᠯ\u180b",
        # Hebrew and Arabic with directional marks.
        "קונצרט \u200e(2030)\u200f",
        "حفل\u061c!",
        "מַלְכָּה",
        "นัทธมน",
        "東京公演",
        # Letters of a newer Unicode than Python's, and private letters.
        "\U00010d40\ue000",
        "",
    ],
)
def test_names_of_every_script_are_names(name):
    assert fault_of_name(name) is None
    assert fault_of_lines(name, 1) is None


@pytest.mark.parametrize(
    "code",
    [0, 7, 0x1B, 0x7F, 0x85, 0x9F, 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069, 0x206A,
     0xFFF9, 0xD800, 0xDFFF, 0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFE, 0x10FFFF],
)  # fmt: skip
def test_a_name_has_no_control_override_or_noncharacter(code):
    fault = fault_of_name(f"a{chr(code)}b")
    assert fault is not None
    assert f"U+{code:04X}" in fault


@pytest.mark.parametrize("separator", ["\n", "\r", "\t", "\v", "\f", "\u2028", "\u2029"])
def test_a_name_is_one_line(separator):
    assert fault_of_name(f"a{separator}b") is not None


@pytest.mark.parametrize(
    "name", [" ", "   ", "\xa0\u3000", "\u200b", "\u200d\u200c", "\ufeff", "\u00ad", "\u2800", "\u3164", "\u115f\u1160",
             "\ufe0f", "\u200e \u200f", "\u034f", "\U000e0100"]
)  # fmt: skip
def test_a_name_shows_something(name):
    assert fault_of_name(name) == "shows nothing: it holds only blank or invisible characters"


def test_lines_end_with_line_feeds_and_are_counted():
    text = with_line_feeds("Town Hall\r\n1 Market Square\u2028Berlin\r\x85\tGermany")
    assert text == "Town Hall\n1 Market Square\nBerlin\n\n\tGermany"
    assert fault_of_lines(text, 5) is None
    assert fault_of_lines(text, 4) == "has more than 4 lines"
    assert with_line_feeds(" \n\u200b\n") == ""
    assert fault_of_lines("a\x07b", 5) is not None
    assert fault_of_lines("a\u202eb", 5) is not None


def test_text_is_composed():
    assert composed("Zu\u0308rich") == "Zürich"
    assert composed(unicodedata.normalize("NFD", "한글 Ångström")) == "한글 Ångström"
    # Excluded from composition by Unicode: the normal form is the longer one.
    assert composed("\u0958") == "\u0915\u093c"
    assert composed("ﬁ") == "ﬁ"


def test_a_long_row_of_combining_characters_is_not_normalised():
    assert composed("a" + "\u0301\u0316" * (MAX_COMBINING // 2)) is not None
    # Normalising this takes seconds.
    assert composed("a" + "\u0301\u0316" * 100_000) is None
