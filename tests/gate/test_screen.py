"""The view for people, and the lines for logs and programs."""

import io
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from ticketing.admission.scans import DenialReason, ScanType
from ticketing.admission.tickets import Entry, TicketType
from ticketing.gate.link import State, Status
from ticketing.gate.messages import Answer
from ticketing.gate.plain import Lines, line
from ticketing.gate.screen import SHOWN_SECONDS, Screen, Standing

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
ONLINE = Status(State.ONLINE, "Concert")
# The middle of a D, as it is drawn large.
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


DENIED = an_answer(
    admitted=False,
    reason=DenialReason.ALREADY_CHECKED_IN,
    previous=Entry(uuid.UUID(int=2), NOON, "North 3"),
    offline=True,
)
TAKEN_BACK = an_answer(annulled=True)


class Terminal:
    def __init__(self, status: Status = ONLINE, queue: int = 0) -> None:
        self.out = io.StringIO()
        self.console = Console(file=self.out, force_terminal=True, width=90, height=24, color_system="standard")
        self.screen = Screen(self.console, lambda: Standing(status, "North 3", queue))

    def text(self, now: float = 0.0) -> str:
        with self.console.capture() as captured:
            self.console.print(self.screen.picture(now))
        return captured.get()


def since(screen: Screen) -> float:
    return screen._seen.since  # noqa: SLF001 - when the answer was shown


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


def test_denied_is_large_and_red_says_why_and_sounds():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(DENIED)
    text = terminal.text(since(terminal.screen))
    assert LARGE_D in text
    assert "\x1b[1;37;41m" in text
    assert "ALREADY CHECKED IN" in text
    assert "North 3" in text
    assert "\a" in terminal.out.getvalue()


def test_what_was_taken_back_is_red_and_counts_no_more():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
        terminal.screen.show(TAKEN_BACK)
    text = terminal.text(since(terminal.screen))
    assert "TAKEN BACK" in text
    assert "\x1b[1;37;42m" not in text
    assert "0 admitted   0 denied" in text


def test_a_green_answer_is_gone_before_the_next_person_comes():
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.show(an_answer())
    assert "\x1b[1;37;42m" not in terminal.text(since(terminal.screen) + SHOWN_SECONDS)


def test_the_head_tells_how_the_connection_is_and_what_is_to_be_delivered():
    assert "● ONLINE" in Terminal().text()
    assert "all delivered" in Terminal().text()
    away = Terminal(Status(State.OFFLINE, "Concert", "no answer in time"), queue=7).text()
    assert "● OFFLINE" in away
    assert "no answer in time" in away
    assert "7 to deliver" in away


def test_a_device_that_may_not_scan_is_red_before_anybody_comes():
    text = Terminal(Status(State.REFUSED, "", "UNAUTHENTICATED: revoked")).text()
    assert "this device may not scan" in text
    assert "\x1b[1;37;41m" in text


@pytest.mark.parametrize(
    ("answer", "verdict", "is_open"),
    [(an_answer(), "ADMITTED", True), (DENIED, "DENIED", False), (TAKEN_BACK, "ADMITTED", False)],
)
def test_a_program_is_told_in_json(answer, verdict, is_open):
    out = io.StringIO()
    Lines(out, as_json=True).show(answer)
    told = json.loads(out.getvalue())
    assert (told["verdict"], told["open"]) == (verdict, is_open)


def test_a_log_is_told_in_lines():
    out = io.StringIO()
    Lines(out, as_json=False).show(DENIED)
    assert out.getvalue() == line(DENIED) + "\n"
    assert " DENIED   ALREADY CHECKED IN, at " in out.getvalue()
    assert out.getvalue().endswith("North 3 (decided offline)\n")
    assert line(an_answer()).endswith(" ADMITTED EARLY BIRD")
