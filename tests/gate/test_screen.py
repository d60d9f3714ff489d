"""The screen for people, and the lines for logs and programs."""

import io
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from ticketing.admission.scans import DenialReason, ScanType
from ticketing.admission.tickets import CheckIn, TicketType
from ticketing.gate.admission_store import ReplicaState
from ticketing.gate.answer_text import LinePrinter, text_line
from ticketing.gate.connection_status import ConnectionState, ConnectionStatus
from ticketing.gate.device_status import DeviceStatus
from ticketing.gate.messages import Answer
from ticketing.gate.notices import MISSING_END, Notice
from ticketing.gate.offline_decision import NO_REPLICA
from ticketing.gate.screen import SHOWN_SECONDS, Screen

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
ONLINE = ConnectionStatus(ConnectionState.ONLINE, "Concert")
# A row of the large word DENIED, and one of ADMITTED.
LARGE_D = "████   █████  █   █  ███  █████  ████"
LARGE_ADMITTED = "███   ████   █   █  ███  █████  █████  █████  ████"


def an_answer(**fields) -> Answer:
    usual: dict[str, Any] = {
        "scan_id": str(uuid.UUID(int=1)),
        "code": "TKT-0123456789ABCDEF",
        "scan_type": ScanType.CHECK_IN,
        "admitted": True,
        "reason": None,
        "ticket_type": TicketType.EARLY_BIRD,
        "previous": None,
        "time": NOON,
        "offline": False,
        "annulled": False,
    }
    return Answer(**(usual | fields))


READY = DeviceStatus(ONLINE, "North 3", 0, ReplicaState(is_complete=True), timedelta(seconds=12))
DENIED = an_answer(
    admitted=False,
    reason=DenialReason.ALREADY_CHECKED_IN,
    previous=CheckIn(uuid.UUID(int=2), NOON, "North 3"),
    offline=True,
)
TAKEN_BACK = an_answer(annulled=True)
BERLIN = ZoneInfo("Europe/Berlin")


class Terminal:
    def __init__(self, status: ConnectionStatus = ONLINE, queue: int = 0) -> None:
        self.out = io.StringIO()
        self.console = Console(file=self.out, force_terminal=True, width=90, height=24, color_system="standard")
        self.screen = Screen(self.console, lambda: DeviceStatus(status, "North 3", queue))

    def text(self, now: float = 0.0) -> str:
        with self.console.capture() as captured:
            self.console.print(self.screen.render(now))
        return captured.get()


def since(screen: Screen) -> float:
    return screen._history.since  # noqa: SLF001 - the time of the last answer


def test_admitted_is_large_and_green():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
    text = terminal.text(since(terminal.screen))
    assert LARGE_ADMITTED in text
    assert "\x1b[1;37;42m" in text
    assert "EARLY BIRD" in text
    assert "1 admitted   0 denied" in text
    assert "\a" not in terminal.out.getvalue()


def test_denied_is_large_and_red_with_its_reason_and_the_bell():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(DENIED)
    text = terminal.text(since(terminal.screen))
    assert LARGE_D in text
    assert "\x1b[1;37;41m" in text
    assert "ALREADY CHECKED IN" in text
    assert "North 3" in text
    assert "\a" in terminal.out.getvalue()


@pytest.mark.parametrize(("height", "shows_history"), [(24, True), (18, True), (16, False), (14, False)])
def test_a_low_terminal_keeps_the_verdict_and_drops_earlier_answers(height, shows_history):
    terminal = Terminal()
    terminal.console.height = height
    with terminal.screen:
        terminal.screen.show(an_answer())
    text = terminal.text(since(terminal.screen))
    assert LARGE_ADMITTED in text
    assert "EARLY BIRD" in text
    assert ("1 admitted   0 denied" in text) == shows_history


def test_annulled_scan_is_red_and_leaves_the_count():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
        terminal.screen.show(TAKEN_BACK)
    text = terminal.text(since(terminal.screen))
    assert "ANNULLED" in text
    assert "\x1b[1;37;42m" not in text
    assert "0 admitted   0 denied" in text


def test_annulled_is_large():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
        terminal.screen.show(TAKEN_BACK)
    assert "█   █  ██  █  ██  █  █   █  █      █      █      █   █" in terminal.text(since(terminal.screen))


def test_repeated_answer_is_shown_again_and_not_counted():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
        terminal.screen.show(an_answer(repeated=True))
        terminal.screen.show(DENIED)
        terminal.screen.show(replace(DENIED, repeated=True))
    text = terminal.text(since(terminal.screen))
    assert "1 admitted   1 denied" in text
    assert LARGE_D in text
    assert terminal.out.getvalue().count("\a") == 1


def test_undo_that_annuls_nothing_counts_nobody_as_denied():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer(admitted=False, is_scan=False, note="NOTHING TO ANNUL"))
    text = terminal.text(since(terminal.screen))
    assert "NOTHING TO ANNUL" in text
    assert "0 admitted   0 denied" in text


@pytest.mark.parametrize("notice", [MISSING_END, Notice("QUIT?", "type 123 and Enter")])
def test_notice_is_large_and_stays_until_the_next_answer(notice):
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show_notice(notice)
        text = terminal.text(since(terminal.screen) + SHOWN_SECONDS)
        assert notice.text in text
        assert "\x1b[1;30;43m" in text
        terminal.screen.show(an_answer())
        assert notice.text not in terminal.text(since(terminal.screen))


def test_typed_line_is_shown_without_characters_that_a_terminal_obeys():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show_typed("tkt-0123\x1b[2J")
        assert "> tkt-0123�[2J" in terminal.text()
        terminal.screen.show_typed("x" * 172)
        assert f"> …{'x' * 40} " in terminal.text()
        terminal.screen.show_typed("")
    assert "> …" not in terminal.text()


def test_the_holder_is_shown_with_the_answer_to_the_same_scan_only():
    terminal, answer = Terminal(), an_answer()
    terminal.screen.show(answer)
    now = since(terminal.screen)
    assert "Anna Schmidt" not in terminal.text(now)
    terminal.screen.show_holder(answer.scan_id, "Anna Schmidt")
    text = terminal.text(now)
    assert LARGE_ADMITTED in text
    assert text.index("EARLY BIRD") < text.index("Anna Schmidt")
    assert "Anna Schmidt" not in terminal.text(now + SHOWN_SECONDS)
    terminal.screen.show(replace(DENIED, scan_id=str(uuid.UUID(int=9))))
    # A name that arrives late belongs to nobody who is here.
    terminal.screen.show_holder(answer.scan_id, "Anna Schmidt")
    assert "Anna Schmidt" not in terminal.text(since(terminal.screen))


def test_admitted_disappears_before_the_next_person_arrives():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
    assert "\x1b[1;37;42m" not in terminal.text(since(terminal.screen) + SHOWN_SECONDS)


def test_header_shows_connection_and_queue_length():
    assert "● ONLINE" in Terminal().text()
    assert "all delivered" in Terminal().text()
    away = Terminal(ConnectionStatus(ConnectionState.OFFLINE, "Concert", "no answer in time"), queue=7).text()
    assert "● OFFLINE" in away
    assert "no answer in time" in away
    assert "7 to deliver" in away


@pytest.mark.parametrize(
    ("replica", "age", "text"),
    [
        (ReplicaState(), None, "not ready for offline"),
        (ReplicaState(loaded=12_000), None, "not ready for offline: 12,000 tickets so far"),
        (ReplicaState(is_complete=True), None, "offline ready"),
        (ReplicaState(is_complete=True), timedelta(seconds=12.7), "offline ready, 12 s old"),
        (ReplicaState(is_complete=True), timedelta(minutes=90), "offline ready, 1 h old"),
    ],
)
def test_header_shows_whether_the_device_is_ready_for_offline(replica, age, text):
    terminal = Terminal()
    terminal.screen._read_status = lambda: DeviceStatus(ONLINE, "North 3", 0, replica, age)  # noqa: SLF001 - another status
    assert f" {text} " in terminal.text()


@pytest.mark.parametrize(
    ("state", "replica", "is_ready"),
    [
        (ConnectionState.OFFLINE, ReplicaState(loaded=5), False),
        (ConnectionState.OFFLINE, ReplicaState(is_complete=True), True),
        (ConnectionState.ONLINE, ReplicaState(), True),
    ],
)
def test_device_that_can_admit_nobody_is_not_ready(state, replica, is_ready):
    terminal = Terminal()
    status = DeviceStatus(ConnectionStatus(state, "Concert"), "North 3", 0, replica)
    terminal.screen._read_status = lambda: status  # noqa: SLF001 - another status
    text = terminal.text()
    assert (NO_REPLICA in text) is not is_ready
    # The beginning of the large word NOT.
    assert ("█   █   ███   █████" in text) is not is_ready


def test_refused_device_is_red_before_the_first_scan():
    text = Terminal(ConnectionStatus(ConnectionState.REFUSED, "", "UNAUTHENTICATED: revoked")).text()
    assert "this device may not scan" in text
    assert "\x1b[1;37;41m" in text


@pytest.mark.parametrize(
    ("answer", "verdict", "is_open"),
    [(an_answer(), "ADMITTED", True), (DENIED, "DENIED", False), (TAKEN_BACK, "ADMITTED", False)],
)
def test_programs_get_json(answer, verdict, is_open):
    out = io.StringIO()
    LinePrinter(out, lambda: READY, as_json=True).show(answer)
    printed = json.loads(out.getvalue())
    assert (printed["verdict"], printed["open"]) == (verdict, is_open)
    assert (printed["device"]["ready_for_offline"], printed["device"]["replica_age_seconds"]) == (True, 12)


def test_logs_get_lines():
    out = io.StringIO()
    LinePrinter(out, lambda: READY, as_json=False).show(DENIED)
    assert out.getvalue() == text_line(DENIED) + "\n"
    assert " DENIED   ALREADY CHECKED IN, at " in out.getvalue()
    assert out.getvalue().endswith("North 3 (decided offline)\n")
    assert text_line(an_answer()).endswith(" ADMITTED EARLY BIRD")


@pytest.mark.parametrize(
    ("hours_before", "shown"),
    [
        # It is 14:00 in Berlin.
        (2, "at 12:00:00, North 3"),
        (14, "at 00:00:00, North 3"),
        # Yesterday in Berlin, today in UTC.
        (14.5, "at Tue 2030-04-30 23:30, North 3"),
        (26, "at Tue 2030-04-30 12:00, North 3"),
        (-24, "at Thu 2030-05-02 14:00, North 3"),
    ],
)
def test_the_earlier_check_in_has_its_date_unless_it_was_today(hours_before, shown):
    previous = CheckIn(uuid.UUID(int=2), NOON - timedelta(hours=hours_before), "North 3")
    line = text_line(an_answer(admitted=False, previous=previous, zone=BERLIN))
    assert line.startswith("14:00:00 DENIED")
    assert shown in line
