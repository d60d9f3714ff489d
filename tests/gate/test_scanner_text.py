"""What scanners type, and what is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.gate.scanner_text import scanned_lines, scanned_text

TOKEN = "T1" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 5 + "ABCDEFGHIJ"


def reader(*chunks: bytes):
    waiting = list(chunks)
    return lambda most: waiting.pop(0) if waiting else b""


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b"\n\n\r"])
def test_a_line_ends_as_the_scanner_was_set_up(end):
    assert list(scanned_lines(reader(b"one" + end + b"two" + end))) == ["one", "two"]


def test_a_line_may_come_in_pieces_and_the_last_one_without_an_end():
    assert list(scanned_lines(reader(b"o", b"ne\ntw", b"o\nthree"))) == ["one", "two", "three"]


@pytest.mark.parametrize("before", ["", " ", "]Q1", "]d2", "\x02", "SCAN:", "https://tickets.example/"])
@pytest.mark.parametrize("after", ["", "  ", "\t", "\x03"])
def test_what_scanners_add_is_taken_off(before, after):
    assert scanned_text((before + TOKEN + after).encode()) == TOKEN
    assert scanned_text((before + "TKT-0123456789ABCDEF" + after).encode()) == "TKT-0123456789ABCDEF"


def test_caps_lock_is_no_matter():
    assert scanned_text(TOKEN.lower().encode()) == TOKEN


def test_what_is_no_ticket_is_left_as_it_is():
    assert scanned_text(b"]E04006381333931 x") == "]E04006381333931 x"


def test_a_line_of_a_mebibyte_is_cut_and_the_next_one_is_read():
    texts = list(scanned_lines(reader(*[b"x" * 65_536] * 16, b"\nnext\n")))
    assert [len(text) for text in texts] == [4_096, 4]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_read_the_same_however_it_is_cut(parts):
    whole = b"".join(parts)
    assert list(scanned_lines(reader(*[part for part in parts if part]))) == list(
        scanned_lines(reader(whole) if whole else reader())
    )


@given(st.binary(max_size=200))
def test_no_garbage_stops_the_reading(data):
    for text in scanned_lines(reader(data, b"\n")):
        assert text.encode()
