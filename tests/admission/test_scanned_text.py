"""Tests of the search for credentials in a scanned text, and of what a record keeps of it."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tests.scanning.gates import token_of
from tests.scanning.keyboards import KEYBOARDS, typed_on
from ticketing.admission.scanned_text import find_tokens, readings, sanitize_text

KEY = SigningKey(bytes(32))
EVENT_ID = UUID("0197a2b0-1111-7000-8000-00000000000a")
CODE = "TKT-0123456789ABCDEF"
DIGITS = CODE.removeprefix("TKT-")
TOKEN, OTHER = (token_of(KEY, EVENT_ID, UUID(int=number)) for number in (7, 8))


@pytest.mark.parametrize("before", ["", "]Q1", "\x02", "https://tickets.example/t?c=", "SCAN", "4006381333931"])
@pytest.mark.parametrize(
    "after",
    ["", "\x1d", "#", ";", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", ".", "&lang=de", " Sam", "\x03", "\x00"],
)
def test_a_token_is_found_anywhere_in_a_line(before, after):
    assert find_tokens(before + TOKEN + after) == [TOKEN]
    assert next(readings((before + TOKEN + after).lower())) == [TOKEN]


def test_tokens_without_a_line_end_between_them_are_all_found():
    assert find_tokens(TOKEN + OTHER + TOKEN) == [TOKEN, OTHER]


def test_a_code_beside_a_token_is_no_second_credential():
    assert next(readings(f"https://tickets.example/{CODE}?t={TOKEN}")) == [TOKEN]


@pytest.mark.parametrize("change", [lambda t: t[:80] + t[81:], lambda t: t[:-1], lambda t: t + "A"])
def test_a_token_that_lost_or_won_a_character_is_not_found(change):
    assert find_tokens(change(TOKEN)) == []


@pytest.mark.parametrize("keyboard", KEYBOARDS)
@pytest.mark.parametrize("text", [TOKEN, CODE])
def test_a_credential_typed_on_another_keyboard_is_among_the_readings(keyboard, text):
    assert [text] in list(readings(typed_on(keyboard, text)))


@given(st.text(max_size=600))
def test_any_text_has_readings_without_an_error(text):
    assert all(readings(text))


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        (CODE, "TKT-012345…"),
        (f" {CODE.lower()}, and more", "TKT-012345…"),
        ("0123 4567 89ab cdef", "TKT-012345…"),
        (TOKEN, TOKEN[:8] + "…"),
        (f" {TOKEN.lower()} ", TOKEN[:8] + "…"),
        ("T1" + "A" * 170, "T1AAAAAA…"),
        ("", "(0 characters)"),
        ("4006381333931", "(13 digits)"),
        ("plain", "(5 letters and digits)"),
        ("https://example.com/x", "(21 characters of an address)"),
        ("a\0b\nc", "(5 characters)"),
    ],
)
def test_a_record_keeps_the_begin_of_a_credential_and_the_kind_of_other_texts(text, recorded):
    assert sanitize_text(text) == recorded
    assert sanitize_text(recorded) == recorded


NOISE = st.text(" -.#;/&?=\x1d\x03\N{EN DASH}\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}", max_size=3)


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """Draw a code as people and scanners damage it."""
    text = CODE if draw(st.booleans()) else DIGITS
    if draw(st.booleans()):
        text = typed_on(draw(st.sampled_from(sorted(KEYBOARDS))), text)
    position = draw(st.integers(0, len(text)))
    change = draw(st.sampled_from(["none", "lost", "doubled", "wrong", "cut", "reversed"]))
    if change == "lost":
        text = text[:position] + text[position + 1 :]
    elif change == "doubled":
        text = text[:position] + text[position : position + 1] * 2 + text[position + 1 :]
    elif change == "wrong":
        text = text[:position] + "X" + text[position + 1 :]
    elif change == "cut":
        text = text[:position]
    elif change == "reversed":
        text = text[::-1]
    return draw(NOISE) + "".join(letter + draw(NOISE) for letter in text)


@given(near_misses())
def test_no_record_shows_more_than_six_digits_of_a_near_miss(text):
    recorded = sanitize_text(text)
    shown = recorded.removeprefix("TKT-").removesuffix("…") if recorded.startswith("TKT-") else ""
    assert len(shown) <= 6
    assert recorded.startswith(("TKT-", "("))
