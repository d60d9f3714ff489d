"""The dialogue at the gate: every read is answered, and one person is one scan."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gate.lane import Lane, by_hand
from tests.scanning.keyboards import KEYBOARDS, typed_on
from ticketing.admission.scans import DenialReason
from ticketing.gate.dialogue import OTHER_UNDO_CODE, QUIT_SECONDS, SCANNER_LAYOUT
from ticketing.gate.messages import Answer
from ticketing.gate.notices import MISSING_END, Notice
from ticketing.gate.offline_decision import NEEDS_CONNECTION
from ticketing.gate.reads import Interrupt, MissingEnd, Read, Typing
from ticketing.gate.undo_code import is_undo_attempt


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with Lane(tmp_path) as lane:
        yield lane


def test_the_same_text_within_a_moment_repeats_the_answer(lane):
    token, other = lane.ticket(), lane.ticket()
    first = lane.scan(token)
    again = lane.scan(f"]Q1{token}", later=0.3)
    assert (first.may_pass, first.repeated) == (True, False)
    assert (again.may_pass, again.repeated, again.scan_id) == (True, True, first.scan_id)
    # Another ticket between the two reads makes no difference.
    assert lane.scan(other, later=0.3).may_pass
    assert lane.scan(token, later=0.3).repeated
    assert len(lane.queued()) == 2
    # A deliberate second read is a scan.
    assert lane.scan(token, later=1.0).reason is DenialReason.ALREADY_CHECKED_IN


def test_the_time_of_a_repetition_can_be_set(tmp_path):
    with Lane(tmp_path, repeat_seconds=0.0) as lane:
        token = lane.ticket()
        assert [lane.scan(token, later=0.0).repeated for _ in range(2)] == [False, False]


def test_a_double_read_under_unlimited_counts_once(tmp_path):
    with Lane(tmp_path, policy="UNLIMITED") as lane:
        token = lane.ticket()
        assert [lane.scan(token, later=later).may_pass for later in (0.0, 0.3, 2.0)] == [True] * 3
        assert len(lane.queued()) == 2


@pytest.mark.parametrize("keyboard", KEYBOARDS)
def test_a_token_typed_on_any_known_keyboard_is_admitted(lane, keyboard):
    # A half of all tokens would verify by chance if only the payload counted: the signature decides.
    tokens = [lane.ticket() for _ in range(3)]
    assert [lane.scan(typed_on(keyboard, token)).may_pass for token in tokens] == [True] * 3
    assert [attempt.code for attempt in lane.queued()] == tokens


def test_a_code_typed_on_another_keyboard_is_recognised(lane):
    assert lane.scan(typed_on("fr", "TKT-0123456789ABCDEF")).note == NEEDS_CONNECTION


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:40] + token[41:],
        lambda token: token[:40] + ("A" if token[40] != "A" else "B") + token[41:],
        lambda token: token[:140] + ("A" if token[140] != "A" else "B") + token[141:],
        lambda token: token.translate(str.maketrans("ABCDEFGH", "αβγδεζηθ")),
    ],
    ids=["lost", "changed in the signature", "changed in the payload", "unknown layout"],
)
def test_a_garbled_token_is_denied_with_a_question_about_the_layout(lane, change):
    answer = lane.scan(change(lane.ticket()))
    assert (answer.may_pass, answer.note) == (False, SCANNER_LAYOUT)


def test_a_foreign_text_is_denied_without_a_question_about_the_layout(lane):
    assert lane.scan("4006381333931").note == ""


def test_tokens_without_a_line_end_between_them_are_scanned_one_after_the_other(lane):
    tokens = [lane.ticket(), lane.ticket()]
    answers = lane.read("".join(tokens))
    assert [isinstance(answer, Answer) and answer.may_pass for answer in answers] == [True, True]


def test_undo_annuls_the_last_admission_also_after_a_denial(lane):
    code, token = lane.undo_code.create(), lane.ticket()
    admitted = lane.scan(token)
    assert not lane.scan("4006381333931").may_pass
    assert not lane.scan(token).may_pass
    annulled = lane.scan(f"]Q1{code.lower()}\x1d")
    assert (annulled.annulled, annulled.scan_id) == (True, admitted.scan_id)
    # The person may try again at once.
    assert lane.scan(token, later=0.1).may_pass


@pytest.mark.parametrize("keyboard", KEYBOARDS)
def test_undo_code_is_read_on_any_known_keyboard(lane, keyboard):
    code = lane.undo_code.create()
    lane.scan(lane.ticket())
    assert lane.scan(typed_on(keyboard, code)).annulled


@pytest.mark.parametrize("text", ["GATE-UNDO", "gate-undo", "]Q1GATE-UNDO", "UNDOBCDEFGHJKLNPRSTU"])
def test_a_public_word_or_a_foreign_code_annuls_nothing_and_is_answered(lane, text):
    for has_code in (False, True):
        if has_code:
            lane.undo_code.create()
        token = lane.ticket()
        assert lane.scan(token).may_pass
        answer = lane.scan(text)
        assert (answer.may_pass, answer.annulled, answer.note) == (False, False, OTHER_UNDO_CODE)
        assert lane.scan(token).reason is DenialReason.ALREADY_CHECKED_IN


def test_a_token_with_the_letters_of_undo_is_no_attempt_to_undo():
    """One token in ten thousand has them."""
    assert not is_undo_attempt("T1" + "A" * 60 + "UN2DO" + "B" * 105)


def test_undo_without_an_admission_is_answered(lane):
    code = lane.undo_code.create()
    assert lane.scan(code).note.startswith("NOTHING TO ANNUL")
    lane.scan(lane.ticket())
    assert lane.scan(code).annulled
    assert lane.scan(code).note.startswith("NOTHING TO ANNUL")


def test_an_undo_code_read_twice_within_a_moment_repeats_its_answer(lane):
    code, token = lane.undo_code.create(), lane.ticket()
    lane.scan(token)
    first, again = lane.scan(code), lane.scan(code, later=0.15)
    assert (first.annulled, first.repeated) == (True, False)
    assert again == replace(first, repeated=True)
    # After another scan it is another undo.
    second = lane.scan(token, later=0.3)
    assert (lane.scan(code, later=0.3).scan_id, second.may_pass) == (second.scan_id, True)
    assert lane.scan(code).note.startswith("NOTHING TO ANNUL")


def test_a_new_undo_code_replaces_the_old_one_while_the_gate_runs(lane):
    old = lane.undo_code.create()
    lane.scan(lane.ticket())
    new = lane.undo_code.create()
    assert not lane.scan(old).annulled
    assert lane.scan(new).annulled


def test_quitting_needs_a_number_that_no_scan_contains(lane):
    assert lane.handle(Interrupt())
    notice = lane.view.shown[-1]
    assert isinstance(notice, Notice)
    number = re.findall(r"\d+", notice.text)[0]
    # A scanner types the number too fast, and the question is over.
    assert lane.handle(Read(number), by_hand(number))
    assert lane.handle(Interrupt())
    other = re.findall(r"\d+", lane.view.shown[-1].text)[0]
    assert not lane.handle(by_hand(other))


def test_the_question_about_quitting_expires(lane):
    assert lane.handle(Interrupt())
    number = re.findall(r"\d+", lane.view.shown[-1].text)[0]
    lane.time += QUIT_SECONDS + 1
    assert lane.handle(by_hand(number))


def test_quitting_needs_a_keyboard(tmp_path):
    with Lane(tmp_path, has_keyboard=False) as lane:
        assert lane.handle(Interrupt())
        assert lane.view.shown == []


def test_a_missing_end_and_the_typed_line_are_shown(lane):
    lane.handle(Typing("a"), MissingEnd(), Typing("ab"), by_hand("ab"))
    assert lane.view.shown[0] == MISSING_END
    assert lane.view.typed == ["a", "ab", ""]


def test_the_file_keeps_no_text_but_tokens(lane):
    token, code = lane.ticket(), "TKT-0123456789ABCDEF"
    for text in (token, code, "0123-4567-89AB-CDEF", "TKT-0123456789ABCDE", "4006381333931"):
        lane.scan(text)
    expected = [token, "TKT-012345…", "TKT-012345…", "(19 characters)", "(13 digits)"]
    # The same code is scanned once: the second text is a repetition of the first.
    assert [attempt.code for attempt in lane.queued()] == expected


# The noise of scanners, keyboards, addresses and people; it contains no end of a line.
CONTROLS = "".join(chr(code) for code in range(32) if chr(code) not in "\r\n\t\x04\x08") + "\x7f"
SPACES = "\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{SOFT HYPHEN} "
MARKS = st.text(f"{CONTROLS}{SPACES}#;.,:/?&=-+*()[]", max_size=6)
WORDS = st.sampled_from(
    ["", "]Q1", "]d2", "]C1", "https://tickets.example/t?c=", "SCAN:", "\x1b[200~", "4006381333931"]
)
ENDINGS = st.sampled_from(["", "&lang=de", ";x", "#top", " Sam Smith", "\x1d10ABC", "\x1b[201~", "\x00"])


# A read of each kind of noise; more rounds find more.
EXAMPLES = int(os.environ.get("TICKETING_ROUNDS", "40"))


def test_random_lines_of_a_credential_and_noise_are_one_scan_of_one_person(lane):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        tokens, last = [lane.ticket() for _ in range(2)], dict[str, Answer]()
        before = len(lane.queued())
        for _ in range(data.draw(st.integers(1, 5))):
            token = data.draw(st.sampled_from(tokens))
            line = data.draw(WORDS) + data.draw(MARKS) + token + data.draw(MARKS) + data.draw(ENDINGS)
            if data.draw(st.booleans()):
                line = line.swapcase()
            if data.draw(st.booleans()):
                # The noise of another keyboard would be another noise.
                line = data.draw(WORDS) + typed_on(data.draw(st.sampled_from(sorted(KEYBOARDS))), token)
            answer = lane.scan(line, later=data.draw(st.sampled_from([0.3, 2.0, 60.0])))
            if answer.repeated:
                assert replace(answer, repeated=False) == last[token], line
            else:
                # Each ticket is admitted with its first scan, and later scans are denied with it.
                assert answer.may_pass == (token not in last), line
                last[token] = answer
        admissions = [attempt.code for attempt in lane.queued()[before:] if attempt.offline.verdict == 1]
        assert sorted(admissions) == sorted(last)

    check()


def test_a_damaged_credential_is_answered_and_admits_nobody(lane):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200), st.integers(0, 171), MARKS)
    def check(before: bytes, place: int, noise: str) -> None:
        token = lane.ticket()
        shown = lane.read(before + (token[:place] + noise + token[place + 1 :]).encode() + b"\r")
        assert shown
        assert not any(isinstance(answer, Answer) and answer.may_pass for answer in shown)

    check()
