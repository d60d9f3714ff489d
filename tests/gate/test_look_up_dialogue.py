"""The dialogue for a person without a phone: typed by hand, and never by a scanner."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tests.gate.lane import EVENT_ID, Lane, by_hand
from ticketing.admission.codes import Codes
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scans import DenialReason
from ticketing.admission.tickets import AdmissionState, CheckIn, Ticket, TicketStatus, TicketType
from ticketing.gate import look_up_dialogue
from ticketing.gate.look_up_dialogue import CHOICE_SECONDS, HELP, MAX_ROWS, NOTHING_FOUND
from ticketing.gate.look_ups import FoundTicket, LookUpResult
from ticketing.gate.messages import Answer
from ticketing.gate.notices import Notice
from ticketing.gate.offline_decision import LOOK_UPS_NEED_CONNECTION
from ticketing.gate.reads import Read

TIME = datetime(2030, 6, 1, 20, 14, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_up_dialogue, "ANSWER_SECONDS", 0.0)


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    with Lane(tmp_path) as lane:
        yield lane


def found(holder: str = "Anna S…", **changes) -> FoundTicket:
    ticket_id = uuid4()
    values = {"ticket_type": TicketType.VIP, "status": TicketStatus.ACTIVE, "admission": AdmissionState(), **changes}
    ticket = Ticket(
        event_id=EVENT_ID,
        ticket_id=ticket_id,
        valid_from_time=None,
        valid_until_time=None,
        issue=1,
        code_digest=b"",
        token_digest=None,
        **values,
    )
    return FoundTicket(ticket, holder, LookUpPass(EVENT_ID, ticket_id, 1, TIME).sign(Codes("s" * 32), "gate"))


def typed(lane: Lane, *lines: str) -> list[Answer | Notice]:
    """Type lines by hand; return what is shown."""
    before = len(lane.view.shown)
    assert lane.handle(*(by_hand(line) for line in lines))
    return lane.view.shown[before:]


def number_in(shown: Answer | Notice) -> str:
    assert isinstance(shown, Notice)
    match = re.search(r"type (\d{3}) and Enter", shown.text)
    assert match is not None, shown
    return match[1]


def text_of(shown: Answer | Notice) -> str:
    assert isinstance(shown, Notice)
    return shown.text


def test_a_name_a_number_and_a_new_number_scan_the_ticket(lane, monkeypatch):
    scanned = []
    monkeypatch.setattr(lane.device, "scan", lambda text, show, group_count: scanned.append(text))
    first, second = found("Anna S…"), found("Anne B…", ticket_type=TicketType.STANDARD)
    lane.look_up_result = LookUpResult([first, second])
    searching, listed = typed(lane, "?ann")
    assert (text_of(searching), lane.looked_up) == ("looking up; a scan goes on: ann", ["ann"])
    assert text_of(listed).splitlines() == [
        "1  VIP  Anna S…  not checked in",
        "2  STANDARD  Anne B…  not checked in",
        "type the number and Enter",
    ]
    [asked] = typed(lane, "2")
    assert asked == Notice("ADMIT?", f"STANDARD  Anne B…  not checked in\ntype {number_in(asked)} and Enter")
    assert scanned == []
    typed(lane, number_in(asked))
    assert scanned == [second.look_up_pass]


def test_a_scan_in_the_dialogue_is_answered_and_the_dialogue_goes_on(lane, monkeypatch):
    ticket = found()
    lane.look_up_result = LookUpResult([ticket])
    typed(lane, "?anna")
    assert lane.scan(lane.ticket()).may_pass
    [again] = typed(lane, "?")
    assert text_of(again).startswith("1  VIP")
    [asked] = typed(lane, "1")
    assert lane.scan(lane.ticket()).may_pass
    scanned = []
    monkeypatch.setattr(lane.device, "scan", lambda text, show, group_count: scanned.append(text))
    typed(lane, number_in(asked))
    assert scanned == [ticket.look_up_pass]


def test_another_line_by_hand_ends_the_question(lane, monkeypatch):
    lane.look_up_result = LookUpResult([found()])
    typed(lane, "?anna")
    [asked] = typed(lane, "1")
    typed(lane, "0000")
    scanned = []
    monkeypatch.setattr(lane.device, "scan", lambda text, show, group_count: scanned.append(text))
    typed(lane, number_in(asked))
    assert scanned == [number_in(asked)]


def test_a_scanner_types_no_step_of_the_dialogue(lane):
    lane.look_up_result = LookUpResult([found()])
    lane.handle(Read("?anna"))
    assert lane.looked_up == []
    typed(lane, "?anna")
    lane.handle(Read("1"))
    [asked] = typed(lane, "1")
    assert isinstance(asked, Notice)
    assert asked.word == "ADMIT?"
    lane.handle(Read(number_in(asked)))
    answer = lane.view.answers[-1]
    assert (answer.may_pass, answer.reason) == (False, DenialReason.TICKET_NOT_FOUND)


def test_a_device_without_a_keyboard_looks_nothing_up(tmp_path):
    with Lane(tmp_path, has_keyboard=False) as lane:
        lane.handle(by_hand("?anna"))
        assert lane.looked_up == []


def test_offline_the_dialogue_says_that_it_needs_the_connection(lane):
    lane.look_up_result = LookUpResult(problem=LOOK_UPS_NEED_CONNECTION)
    _, shown = typed(lane, "?anna")
    assert shown == Notice("", LOOK_UPS_NEED_CONNECTION)


def test_a_connection_lost_before_the_admission_denies_with_a_note(lane):
    lane.look_up_result = LookUpResult([found()])
    typed(lane, "?anna")
    [asked] = typed(lane, "1")
    [answer] = typed(lane, number_in(asked))
    assert isinstance(answer, Answer)
    assert (answer.may_pass, answer.note) == (False, LOOK_UPS_NEED_CONNECTION)
    # Nothing that the device delivers or stores opens a gate.
    assert [attempt.code for attempt in lane.queued()] == ["(97 letters and digits)"]


def test_a_choice_ends_after_a_while(lane):
    lane.look_up_result = LookUpResult([found()])
    typed(lane, "?anna")
    [asked] = typed(lane, "1")
    lane.time += CHOICE_SECONDS
    [answer] = typed(lane, number_in(asked))
    assert isinstance(answer, Answer)
    assert not answer.may_pass
    assert typed(lane, "?") == [Notice("", HELP)]


def test_only_numbers_of_the_list_pick_a_ticket(lane):
    lane.look_up_result = LookUpResult([found()])
    typed(lane, "?anna")
    for line in ("0", "2", "11", "²", "x", "00012", "9" * 5_000):
        [answer] = typed(lane, line)
        assert isinstance(answer, Answer), line


def test_the_list_fits_the_display_and_says_that_more_match(lane):
    lane.look_up_result = LookUpResult([found() for _ in range(20)], more=True)
    _, listed = typed(lane, "?anna")
    lines = text_of(listed).splitlines()
    assert (len(lines), lines[-1]) == (MAX_ROWS + 1, "type the number and Enter; more match: type more of the name")
    [answer] = typed(lane, "9")
    assert isinstance(answer, Answer)


def test_the_list_shows_why_a_ticket_would_be_denied(lane):
    check_in = CheckIn(uuid4(), TIME, "North 3")
    inside = AdmissionState(TIME, check_in, inside=True)
    lane.look_up_result = LookUpResult(
        [
            found(admission=inside),
            found(admission=AdmissionState(TIME, check_in, inside=False)),
            found(status=TicketStatus.REFUNDED),
            found("", ticket_type=None),
        ]
    )
    _, listed = typed(lane, "?anna")
    first, second, third, fourth, _ = text_of(listed).splitlines()
    assert first == "1  VIP  Anna S…  checked in at Sat 2030-06-01 20:14, North 3"
    assert second == f"2{first[1:]}, has left"
    assert (third, fourth) == ("3  VIP  Anna S…  REFUNDED", "4  not checked in")


def test_nothing_found_is_said(lane):
    _, shown = typed(lane, "?nobody")
    assert shown == Notice("", NOTHING_FOUND)


def test_a_late_result_of_an_earlier_look_up_is_dropped(lane):
    shows = []
    lane.dialogue._look_ups._look_up = lambda text, show: shows.append(show)  # noqa: SLF001 - the call, held back
    typed(lane, "?anna")
    typed(lane, "?bob")
    first, second = shows
    second(LookUpResult([found("Bob J…")]))
    first(LookUpResult([found("Anna S…")]))
    assert "Bob" in text_of(lane.view.shown[-1])
