"""The commands of services, gate and developer as a person first meets them: help, faults, Ctrl-C."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev import api_pages, boards, code_blocks, command, contract, demo, gallery, mail_pictures, migrate, token, up
from scan_service import command_line as scan_service
from tests.environment import ROOT
from ticket_service import command_line as ticket_service
from ticketing.chassis import probe
from ticketing.gate import command as gate

PROGRAMS: dict[str, Callable[[], int]] = {
    **{
        f"dev.{one.__name__.rpartition('.')[2]}": one.main
        for one in (api_pages, boards, code_blocks, command, contract, demo, gallery)
    },
    **{f"dev.{one.__name__.rpartition('.')[2]}": one.main for one in (mail_pictures, migrate, token, up)},
    "ticket_service": ticket_service.run,
    "scan_service": scan_service.run,
    "ticketing.gate": gate.main,
    "ticketing.chassis.probe": lambda: probe.main(sys.argv[1:]),
}
SERVICES = {"ticket_service": ticket_service.COMMANDS, "scan_service": scan_service.COMMANDS}
COMMANDS = [f"{service} {one.name}" for service, commands in SERVICES.items() for one in commands]
GATE = ["ticketing.gate run", "ticketing.gate enroll", "ticketing.gate undo-code"]
OTHERS = ["ticket_service relay", "ticket_service migrate", "scan_service migrate", "dev.contract drift"]
ONE_LINE = {
    "ticket_service foo": "python -m ticket_service: there is no command foo; see `python -m ticket_service --help`",
    "scan_service --foo": "python -m scan_service: there is no option --foo; see `python -m scan_service --help`",
    "scan_service revoke-devices x": "'x' is neither the id of a device nor `all`",
    "ticket_service erase --address ": "--address: expected at least one argument",
    "dev.command": "the following arguments are required: service, COMMAND",
    "dev.command foo": "invalid choice: 'foo' (choose from 'ticket_service', 'scan_service')",
    "dev.contract foo": "invalid choice: 'foo'",
    "dev.up foo": "unrecognized arguments: foo",
    "ticketing.gate": "the following arguments are required: command",
}


def exit_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a program in this process; return its exit status, and fail where it does not end by its arguments."""
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[words[0]]()
    return ended.value.code


@pytest.mark.parametrize("words", [*PROGRAMS, *COMMANDS, *GATE, *OTHERS])
def test_help_explains_every_command(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of([*words.split(), "--help"], monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: ")
    assert printed.err == ""


@pytest.mark.parametrize("service", SERVICES)
def test_help_of_a_service_lists_each_command_in_one_line(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_of([service, "--help"], monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    for one in SERVICES[service]:
        assert [line for line in lines if line.split(one.meaning)[0].strip() == one.name] != [], one.name


@pytest.mark.parametrize("words", ONE_LINE)
def test_a_wrong_argument_gives_one_clear_line(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(words.split(), monkeypatch) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ONE_LINE[words] in line


def test_every_program_of_the_developer_is_listed_here() -> None:
    sources = (ROOT / "dev").glob("*.py")
    programs = {f"dev.{path.stem}" for path in sources if "__main__" in path.read_text()}
    assert programs - {"dev.child"} == {name for name in PROGRAMS if name.startswith("dev.")}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(["organizer", ""], "argument SUB: is empty"), (["boss", "alice"], "argument ROLE: 'boss' is none of operator")],
)
def test_a_token_needs_a_role_and_a_subject(
    arguments: list[str], fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(["dev.token", *arguments], monkeypatch) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert fault in line
    assert "make -s token ROLE=organizer SUB=alice" in line


def test_new_keys_are_reported_once_beside_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TICKETING_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["dev.token", "organizer", "alice"])
    assert token.main() == 0
    first = capsys.readouterr()
    assert len(first.out.split(".")) == 3
    assert "made new keys" in first.err
    token.main()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["ticket_service", "dev.up", "ticketing.gate"])
def test_ctrl_c_during_the_imports_prints_nothing(module: str, tmp_path: Path) -> None:
    # The program sends the signal to itself when it imports a late module, so the test needs no sleep.
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'grpc': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "protos")])
    variables = {**os.environ, "PYTHONPATH": path, "TICKETING_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    assert ended.returncode == -signal.SIGINT
