"""The text that scanners type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.gate.scanner_text import scanned_lines, scanned_text

TOKEN = "T1" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 5 + "ABCDEFGHIJ"


def reader(*chunks: bytes):
    waiting = list(chunks)
    return lambda most: waiting.pop(0) if waiting else b""


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b"\n\n\r"])
def test_lines_end_with_any_line_end(end):
    assert list(scanned_lines(reader(b"one" + end + b"two" + end))) == ["one", "two"]


def test_line_may_arrive_in_pieces_and_lack_an_end():
    assert list(scanned_lines(reader(b"o", b"ne\ntw", b"o\nthree"))) == ["one", "two", "three"]


@pytest.mark.parametrize("before", ["", " ", "]Q1", "]d2", "\x02", "SCAN:", "https://tickets.example/"])
@pytest.mark.parametrize("after", ["", "  ", "\t", "\x03"])
def test_additions_of_scanners_are_removed(before, after):
    assert scanned_text((before + TOKEN + after).encode()) == TOKEN
    assert scanned_text((before + "TKT-0123456789ABCDEF" + after).encode()) == "TKT-0123456789ABCDEF"


def test_caps_lock_does_not_matter():
    assert scanned_text(TOKEN.lower().encode()) == TOKEN


def test_other_text_is_left_unchanged():
    assert scanned_text(b"]E04006381333931 x") == "]E04006381333931 x"


def test_line_of_a_mebibyte_is_cut():
    texts = list(scanned_lines(reader(*[b"x" * 65_536] * 16, b"\nnext\n")))
    assert [len(text) for text in texts] == [4_096, 4]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_chunk_borders_do_not_change_the_lines(parts):
    whole = b"".join(parts)
    assert list(scanned_lines(reader(*[part for part in parts if part]))) == list(
        scanned_lines(reader(whole) if whole else reader())
    )


@given(st.binary(max_size=200))
def test_random_bytes_never_stop_the_reader(data):
    for text in scanned_lines(reader(data, b"\n")):
        assert text.encode()
