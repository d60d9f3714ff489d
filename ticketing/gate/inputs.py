"""The inputs of codes: standard input, a serial scanner, or a file."""

import errno
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final, Self

from ticketing.gate.scanner_text import ReadBytes

SERIAL: Final = "serial:"
FILE: Final = "file:"
_UNPLUGGED_SECONDS: Final = 1.0
# The errors of opening a scanner that is not plugged in.
_UNPLUGGED: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})


class InputError(Exception):
    """The named input does not exist or cannot be opened; the message names it."""


@dataclass(slots=True)
class InputStatus:
    """The status of the input, for the display."""

    # What is wrong with the scanner, for people; empty while it works.
    problem: str = ""


@contextmanager
def open_input(name: str, status: InputStatus | None = None) -> Iterator[ReadBytes]:
    """Open an input: `stdin`, `serial:/dev/…` or `file:PATH`; raise InputError where that fails."""
    if name == "stdin":
        # Python has no standard input where the caller closed it.
        if sys.stdin is None:
            raise InputError("--input stdin: standard input is closed; name a scanner or a file")
        keyboard = sys.stdin.fileno()
        with _silent_keyboard(keyboard):
            yield lambda size: _read_stdin(keyboard, size)
    elif name.startswith(SERIAL):
        with SerialScanner(name.removeprefix(SERIAL), status) as scanner:
            yield scanner.read
    elif name.startswith(FILE):
        try:
            file = Path(name.removeprefix(FILE)).open("rb", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise InputError(f"--input {name}: {error.strerror}") from error
        with file:
            yield file.read
    else:
        raise InputError(f"--input {name}: is none of stdin, serial:/dev/…, file:PATH")


class SerialScanner:
    """A scanner on a serial line such as /dev/ttyACM0; a person may unplug it and plug it in again."""

    def __init__(self, path: str, status: InputStatus | None = None) -> None:
        self._path = path
        self._status = status or InputStatus()
        self._file: int | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._open()
        except OSError as error:
            if error.errno not in _UNPLUGGED:
                hint = "; may this user read serial lines?" if error.errno == errno.EACCES else ""
                raise InputError(f"--input {SERIAL}{self._path}: {error.strerror}{hint}") from error
            self._status.problem = self._unplugged()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; while the scanner is unplugged, wait for it."""
        while True:
            # A read of an unplugged scanner returns no bytes or fails, depending on the driver.
            with suppress(OSError):
                if self._file is None:
                    self._file = self._open()
                    self._status.problem = ""
                if data := os.read(self._file, size):
                    return data
            self._close()
            self._status.problem = self._unplugged()
            sleep(_UNPLUGGED_SECONDS)

    def _unplugged(self) -> str:
        return f"no scanner at {self._path}: plug it in"

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDONLY | os.O_NOCTTY)
        if os.isatty(file):
            # TCSANOW keeps the bytes that the scanner has sent already.
            tty.setraw(file, termios.TCSANOW)
        return file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read_stdin(file: int, size: int) -> bytes:
    try:
        return os.read(file, size)
    except OSError as error:
        raise InputError(f"--input stdin: {error.strerror}") from error


@contextmanager
def _silent_keyboard(file: int) -> Iterator[None]:
    """Switch off the echo and the line length limit of a terminal while a scanner types on it."""
    if not os.isatty(file):
        yield
        return
    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
