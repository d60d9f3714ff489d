"""The inputs of codes."""

import os
import pty
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from ticketing.gate import inputs
from ticketing.gate.inputs import InputError, InputStatus, SerialScanner, open_input
from ticketing.gate.reads import Read, ReadBytes, input_events


def scanned_lines(read: ReadBytes) -> Iterator[str]:
    return (event.text for event in input_events(read) if isinstance(event, Read))


def test_file_is_read_to_its_end(tmp_path):
    path = tmp_path / "codes"
    path.write_bytes(b"one\r\ntwo")
    with open_input(f"file:{path}") as read:
        assert list(scanned_lines(read)) == ["one", "two"]


@pytest.mark.parametrize("name", ["file:/nowhere", "serial:/dev/null/x", "camera"])
def test_input_that_cannot_be_opened_is_named(name):
    with pytest.raises(InputError, match=name), open_input(name):
        pass


def test_standard_input_is_read_to_its_end(monkeypatch):
    out, into = os.pipe()
    os.write(into, b"one\n")
    os.close(into)
    with os.fdopen(out) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_input("stdin") as read:
            assert list(scanned_lines(read)) == ["one"]


def test_terminal_echo_is_off_while_scanning_and_restored_afterwards(monkeypatch):
    scanner, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(scanner, "wb", buffering=0) as typing:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(terminal)
        with open_input("stdin") as read:
            assert not termios.tcgetattr(terminal)[3] & (termios.ECHO | termios.ISIG | termios.ICANON | termios.IEXTEN)
            assert not termios.tcgetattr(terminal)[0] & (termios.IXON | termios.ICRNL | termios.ISTRIP)
            typing.write(b"one\r")
            assert next(scanned_lines(read)) == "one"
        assert termios.tcgetattr(terminal) == before


def test_serial_scanner_is_reopened_after_it_was_unplugged(tmp_path, monkeypatch):
    """Two pseudo terminals take the same name one after the other."""
    path = tmp_path / "scanner"
    first, first_end = pty.openpty()
    path.symlink_to(os.ttyname(first_end))
    unplugged = threading.Event()
    monkeypatch.setattr(inputs, "sleep", lambda seconds: unplugged.set())
    with SerialScanner(str(path)) as scanner:
        os.write(first, b"one\n")
        codes = scanned_lines(scanner.read)
        assert next(codes) == "one"
        path.unlink()
        os.close(first_end)
        os.close(first)
        second, second_end = pty.openpty()

        def plug_in() -> None:
            assert unplugged.wait(20)
            path.symlink_to(os.ttyname(second_end))
            os.write(second, b"two\n")

        plugging = threading.Thread(target=plug_in)
        plugging.start()
        assert next(codes) == "two"
        plugging.join()
    os.close(second_end)
    os.close(second)


def test_scanner_that_is_absent_at_the_start_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "scanner"
    waits = []

    def plug_in(_: float) -> None:
        waits.append(status.problem)
        path.write_bytes(b"one\n")

    monkeypatch.setattr(inputs, "sleep", plug_in)
    status = InputStatus()
    with open_input(f"serial:{path}", status) as read:
        assert status.problem == f"no scanner at {path}: plug it in"
        assert next(scanned_lines(read)) == "one"
    assert (waits, status.problem) == ([f"no scanner at {path}: plug it in"], "")


def test_closed_standard_input_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"), open_input("stdin"):
        pass


def test_serial_scanner_reads_a_plain_file(tmp_path):
    path = tmp_path / "pipe"
    path.write_bytes(b"one\n")
    with open_input(f"serial:{path}") as read:
        assert next(scanned_lines(read)) == "one"
