"""The reads of scanners and of people: what ends a line, and what a line contains."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tests.scanning.gates import token_of
from ticketing.gate.reads import InputEvent, Interrupt, MissingEnd, Read, Typing, input_events, is_visible, line_text

TOKEN = token_of(SigningKey(bytes(32)), uuid.UUID(int=1), uuid.UUID(int=2))
CODE = "TKT-0123456789ABCDEF"


class Keyboard:
    """A keyboard whose bytes arrive at given times: each step is a pause in seconds and bytes."""

    def __init__(self, *steps: tuple[float, bytes]) -> None:
        self._steps = list(steps)
        self._time = 0.0

    def read(self, seconds: float | None) -> bytes | None:
        if not self._steps:
            if seconds is None:
                return b""
            return None
        pause, data = self._steps[0]
        if seconds is not None and pause > seconds:
            self._time += seconds
            self._steps[0] = (pause - seconds, data)
            return None
        self._time += pause
        del self._steps[0]
        return data

    def events(self) -> list[InputEvent]:
        return [event for event in input_events(self.read, lambda: self._time) if not isinstance(event, Typing)]


def burst(*chunks: bytes) -> list[InputEvent]:
    """Return the events of chunks that arrive without a pause between them."""
    return Keyboard(*((0.0, chunk) for chunk in chunks)).events()


def typed(text: str, seconds: float = 0.2) -> list[tuple[float, bytes]]:
    """Return the steps of a person who types a text."""
    return [(seconds, character.encode()) for character in text]


def texts(events: list[InputEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Read)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b"\n\n\r", b"\t", b"\x04", b"\r\n\t"])
def test_a_line_end_a_tab_and_eot_end_a_read(end):
    assert texts(burst(b"one" + end + b"two" + end)) == ["one", "two"]


def test_a_line_may_arrive_in_pieces_and_end_with_the_input():
    assert texts(burst(b"o", b"ne\ntw", b"o\nthree")) == ["one", "two", "three"]


@pytest.mark.parametrize("text", [TOKEN, CODE, f"]Q1{TOKEN}\x1d", f"{CODE}#", CODE.removeprefix("TKT-")])
def test_a_short_silence_ends_a_burst_with_a_credential(text):
    events = Keyboard((0.0, text.encode()), (5.0, text.encode())).events()
    assert texts(events) == [line_text(text.encode())] * 2


def test_a_pause_within_a_token_does_not_end_it():
    assert texts(Keyboard((0.0, TOKEN[:170].encode()), (0.3, TOKEN[170:].encode() + b"\r")).events()) == [TOKEN]


def test_a_burst_without_credential_and_end_is_reported_once():
    events = Keyboard((0.0, b"4006381333931"), (9.0, b"\r")).events()
    assert events == [MissingEnd(), Read("4006381333931", by_hand=False)]


def test_a_damaged_token_without_an_end_is_a_read():
    assert texts(Keyboard((0.0, TOKEN[:-3].encode()), (9.0, b"")).events()[:1]) == [TOKEN[:-3]]


@pytest.mark.parametrize("left", [b"x", b"4006381333931", CODE[:9].encode(), TOKEN[:80].encode()])
@pytest.mark.parametrize("text", [TOKEN, CODE])
def test_a_scan_without_an_end_behind_older_characters_is_read(left, text):
    events = Keyboard((0.0, left), (60.0, text.encode()), (60.0, text.encode())).events()
    assert texts(events) == [left.decode() + text, text]


def test_a_token_of_a_slow_scanner_without_an_end_is_read():
    assert texts(Keyboard(*typed(TOKEN, 0.05), (9.0, b"next\r")).events()) == [TOKEN, "next"]


def test_keys_pressed_at_once_within_a_typed_code_end_nothing():
    keyboard = Keyboard(*typed(CODE[:-2]), (0.3, CODE[-2:-1].encode()), (0.01, CODE[-1:].encode()), (9.0, b"\r"))
    assert keyboard.events() == [Read(CODE, by_hand=True)]


def test_a_code_typed_by_hand_waits_for_enter():
    assert Keyboard(*typed(CODE), (9.0, b"\r")).events() == [Read(CODE, by_hand=True)]


def test_a_typed_line_is_shown_and_corrected():
    keyboard = Keyboard(*typed("ac"), (0.2, b"\x7f"), *typed("b\r"))
    events = list(input_events(keyboard.read, lambda: keyboard._time))  # noqa: SLF001 - the clock of the script
    assert events == [Typing("a"), Typing("ac"), Typing("a"), Typing("ab"), Read("ab", by_hand=True)]


@pytest.mark.parametrize("erase", [b"\x7f", b"\x08"])
def test_backspace_erases_the_character_before_it(erase):
    assert line_text(b"\x7fab\xc3\xbc" + erase + b"c" + erase * 2 + b"d") == "ad"


def test_backspace_erases_nothing_of_a_token():
    assert TOKEN in line_text(TOKEN.encode() + b"\x08" * 200)


def test_ctrl_c_alone_is_an_interrupt_and_within_a_read_is_not():
    assert Keyboard((0.0, b"\x03"), (5.0, b"a\x03b\r")).events() == [Interrupt(), Read("a\x03b", by_hand=False)]


def test_ctrl_c_pressed_twice_or_held_is_one_interrupt():
    assert Keyboard(*typed("\x03\x03\x03", 0.05), (5.0, b"\x03\x03")).events() == [Interrupt(), Interrupt()]


def test_the_frame_of_a_scanner_behind_the_end_of_a_read_is_no_interrupt():
    read = b"\x02" + TOKEN.encode() + b"\r\x03"
    events = Keyboard((0.0, read), (5.0, read), (5.0, b"\x03")).events()
    assert texts(events) == ["\x02" + TOKEN] * 2
    assert events[2:] == [Interrupt()]


@pytest.mark.parametrize("control", [bytes([code]) for code in range(32) if code not in b"\r\n\t\x04\x08"])
def test_no_control_character_ends_or_hides_a_read(control):
    [text] = texts(burst(control + TOKEN.encode() + control + b"\r"))
    assert TOKEN in text


@pytest.mark.parametrize("keys", [b"\x1b[200~", b"\x1b[201~", b"\x1b[A", b"\x1bOP", b"\x1b[21~", b"\x1b[1;5C"])
def test_special_keys_and_the_marks_of_a_pasted_text_are_dropped(keys):
    assert texts(burst(keys + b"one" + keys + b"\r" + keys + b"\r")) == ["one"]


def test_a_line_of_a_mebibyte_is_cut():
    assert [len(text) for text in texts(burst(*[b"x" * 65_536] * 16, b"\nnext\n"))] == [4_096, 4]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_chunk_borders_do_not_change_the_lines(parts):
    whole = b"".join(parts)
    assert texts(burst(*[part for part in parts if part])) == texts(burst(*[whole] if whole else []))


@given(st.binary(max_size=300))
def test_random_bytes_with_a_visible_character_are_read(data):
    found = texts(burst(data, b"\n"))
    assert all(text.encode() for text in found)
    visible = any(is_visible(line_text(part)) for part in data.replace(b"\r", b"\n").splitlines())
    assert not visible or found
