"""The program on a pseudo terminal, with the exact bytes that scanners and people type."""

import os
import re
import signal
import sys
import termios
import uuid
from collections.abc import Iterator

import pytest

from tests.environment.waiting import eventually
from tests.processes.terminal import TerminalGate
from tests.scanning.keyboards import typed_on
from ticketing.gate.dialogue import SCANNER_LAYOUT
from ticketing.gate.undo_code import UndoCode
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

pytestmark = pytest.mark.slow


@pytest.fixture
def command(server, stand_in, tmp_path) -> list[str]:
    (tmp_path / "token").write_text("secret")
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", server.address, "--location", "North 3"]
    command += ["--event", str(stand_in.event_id), "--token-file", str(tmp_path / "token")]
    return [*command, "--data", str(tmp_path)]


@pytest.fixture
def gate(command) -> Iterator[TerminalGate]:
    with TerminalGate(command) as gate:
        yield gate


def test_no_control_character_ends_or_stops_the_program(gate, stand_in):
    for code in range(1, 32):
        token = stand_in.ticket()
        control = bytes([code])
        before = b"" if control in {b"\x08", b"\t", b"\n", b"\r", b"\x04"} else control
        answer = gate.scan(before + token.encode() + control + b"\r")
        assert answer["open"], control
    assert gate.process.poll() is None


def test_reads_end_with_a_tab_with_eot_or_with_a_silence(gate, stand_in):
    for end in (b"\r", b"\n", b"\r\n", b"\t", b"\x04", b""):
        assert gate.scan(stand_in.ticket().encode() + end)["open"]
    assert gate.scan(b"4006381333931")["notice"].startswith("SCANNER? the scanner sends no end")
    assert not gate.scan(b"\r")["open"]


@pytest.mark.parametrize(
    "noise",
    ["\x1d", "#", ";", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", ".", "&lang=de#top"],
)
def test_a_token_is_found_with_noise_around_it(gate, stand_in, noise):
    for before in ("", "]Q1", "https://tickets.example/t?c="):
        assert gate.scan((before + stand_in.ticket() + noise).encode() + b"\r")["open"]


def test_tokens_typed_with_another_layout_are_admitted_or_questioned(gate, stand_in):
    # Without the keys of the event, no signature shows which layout is meant.
    eventually(lambda: gate.scan(stand_in.ticket().encode() + b"\r")["device"]["ready_for_offline"])
    for keyboard in ("de", "fr", "be", "cz"):
        assert gate.scan(typed_on(keyboard, stand_in.ticket()).encode() + b"\r")["open"]
    lost = stand_in.ticket()
    answer = gate.scan((lost[:50] + lost[51:]).encode() + b"\r")
    assert (answer["open"], answer["note"]) == (False, SCANNER_LAYOUT)


def test_undo_takes_back_the_last_admission_and_a_public_word_does_not(gate, stand_in, tmp_path):
    code, token = UndoCode(tmp_path).create().encode(), stand_in.ticket().encode()
    admitted = gate.scan(token + b"\r")
    for public in (b"GATE-UNDO\r", b"gate-undo\r", b"]Q1GATE-UNDO\r"):
        assert (gate.scan(public)["annulled"], len(stand_in.passages)) == (False, 0)
    assert not gate.scan(b"4006381333931\r")["open"]
    annulled = gate.scan(b"]Q1" + code + b"\r")
    assert (annulled["annulled"], annulled["scan_id"]) == (True, admitted["scan_id"])
    assert gate.scan(code + b"\r")["repeated"]
    assert [passage.scan_id for passage in stand_in.passages] == [admitted["scan_id"]]


def test_a_code_read_twice_within_a_moment_is_one_scan(gate, stand_in):
    token = stand_in.ticket().encode()
    gate.type(token + b"\r", token + b"\r", pause=0.3)
    first, second = gate.answer(), gate.answer()
    assert (first["open"], second["open"], second["repeated"]) == (True, True, True)
    assert len(stand_in.records) == 1
    gate.type(pause=0.0)
    eventually(lambda: not gate.scan(token + b"\r")["open"])
    assert len(stand_in.records) == 2


def test_a_typed_code_is_shown_and_corrected(command, stand_in):
    with TerminalGate(command, screen=True) as gate:
        eventually(lambda: b"ONLINE" in gate.seen())
        gate.type(b"0123-", pause=0.1)
        eventually(lambda: b"> 0123-" in gate.seen())
        gate.type(b"4", b"\x7f", b"5", pause=0.1)
        eventually(lambda: b"> 0123-5" in gate.seen())
        gate.type(b"\r")
        eventually(lambda: b"TICKET NOT FOUND" in gate.seen())
        [record] = stand_in.records.values()
        assert record.code == "0123-5"


def test_ctrl_c_asks_for_a_number_and_quits_only_with_it(command, stand_in):
    with TerminalGate(command, screen=True) as gate:
        eventually(lambda: b"ONLINE" in gate.seen())
        gate.type(b"\x03")
        eventually(lambda: re.search(rb"type (\d+) and Enter", gate.seen()))
        gate.type(stand_in.ticket().encode() + b"\r")
        eventually(lambda: b"1 admitted" in gate.seen())
        asked = 1
        while gate.process.poll() is None:
            # On a busy machine, the program may read the digits at once, as a scanner types them: then it asks again.
            gate.type(b"\x03", pause=0.5)
            numbers = [*dict.fromkeys(re.findall(rb"type (\d+) and Enter", gate.seen()))]
            if len(numbers) > asked:
                asked = len(numbers)
                gate.type(*(bytes([digit]) for digit in numbers[-1] + b"\r"), pause=0.2)
        assert gate.process.wait(40) == 0
        assert termios.tcgetattr(gate.terminal) == gate.before


def test_scans_are_answered_while_a_look_up_waits(gate, stand_in):
    admission = pb.TicketAdmission(ticket_id=uuid.uuid4().bytes, issue=1)
    stand_in.found = pb.LookUpTicketsResponse(tickets=[pb.FoundTicket(admission=admission, holder="Anna S…")])
    stand_in.may_find.clear()
    gate.type(*(bytes([byte]) for byte in b"?anna\r"), pause=0.15)
    assert gate.answer()["notice"].startswith("looking up")
    for _ in range(3):
        assert gate.scan(stand_in.ticket().encode() + b"\r")["open"]
    stand_in.may_find.set()
    assert gate.answer()["notice"].startswith("1  Anna S…")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_restored_after_a_signal(command, stand_in, number):
    with TerminalGate(command, screen=True) as gate:
        eventually(lambda: b"ONLINE" in gate.seen())
        gate.type(b"rm -rf never-executed")
        os.kill(gate.process.pid, number)
        assert gate.process.wait(40) == (130 if number is signal.SIGINT else 128 + number)
        assert termios.tcgetattr(gate.terminal) == gate.before
        # The program leaves the full screen, and the rest of the input does not reach the shell.
        assert b"\x1b[?1049l" in gate.seen()
        assert b"Traceback" not in gate.seen()


def test_the_terminal_is_restored_after_a_crash(command):
    program = (
        "import sys; from ticketing.gate.command import main; from ticketing.gate.dialogue import Dialogue;"
        " Dialogue.handle = lambda *_: 1 / 0; sys.exit(main(sys.argv[1:]))"
    )
    start = [sys.executable, "-c", program]
    with TerminalGate([*start, *command[3:]]) as gate:
        gate.type(b"x\r")
        assert gate.process.wait(40) == 1
        assert termios.tcgetattr(gate.terminal) == gate.before


def test_one_ticket_annulled_between_scans_is_an_incident(database, scan_service, office, issuer, tmp_path):
    """T, UNDO, T, UNDO, T lets three people in."""
    event_id = database.event()
    token, code = database.ticket(event_id).token.encode(), UndoCode(tmp_path).create().encode()
    (tmp_path / "token").write_text(issuer.token("scanner", "gate"))
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", scan_service, "--location", "North 3"]
    command += ["--event", str(event_id), "--token-file", str(tmp_path / "token"), "--data", str(tmp_path)]
    with TerminalGate(command) as gate:
        shown = [gate.scan(data + b"\r") for data in (token, code, token, code, token)]
    assert [(answer["open"], answer["annulled"]) for answer in shown] == [
        *[(True, False), (False, True)] * 2,
        (True, False),
    ]
    [(kind, ticket_id, scans)] = office.incidents(event_id)
    assert (kind, scans) == (scan_pb2.INCIDENT_KIND_REPEATED_ANNULMENT, 2)
    assert uuid.UUID(ticket_id)


def test_typed_codes_are_admitted_as_people_type_them(database, scan_service, issuer, tmp_path):
    event_id = database.event()
    (tmp_path / "token").write_text(issuer.token("scanner", "gate"))
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", scan_service, "--location", "North 3"]
    command += ["--event", str(event_id), "--token-file", str(tmp_path / "token"), "--data", str(tmp_path)]
    with TerminalGate(command) as gate:
        for form in ("{}", "tkt-{}", "TKT {}", "\x1b[200~{}\x1b[201~", "0\x7f{}", "{}#"):
            digits = database.ticket(event_id).code.removeprefix("TKT-").replace("0", "O").replace("1", "l")
            groups = "\N{EN DASH}".join(digits[begin : begin + 4] for begin in range(0, 16, 4))
            assert gate.scan(form.format(groups).encode() + b"\r")["open"], form


def test_the_name_of_the_holder_follows_the_verdict(gate, stand_in):
    stand_in.holder = pb.GetHolderResponse(allowed=True, name="Anna Schmidt")
    stand_in.may_find.clear()
    answer = gate.scan(stand_in.ticket().encode() + b"\r")
    # The verdict does not wait for the name.
    assert answer["open"]
    stand_in.may_find.set()
    named = gate.answer()
    assert (named["open"], named["holder"], named["scan_id"]) == (False, "Anna Schmidt", answer["scan_id"])
