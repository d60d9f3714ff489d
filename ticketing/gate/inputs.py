"""The inputs of codes: standard input, a serial scanner, or a file."""

import errno
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final, Self

from ticketing.gate.reads import ReadBytes
from ticketing.gate.terminal import raw_keyboard

SERIAL: Final = "serial:"
FILE: Final = "file:"
_UNPLUGGED_SECONDS: Final = 1.0
# The errors of opening a scanner that is not plugged in.
_UNPLUGGED: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO})
_CHUNK_BYTES: Final = 65_536


class InputError(Exception):
    """The named input does not exist or cannot be opened; the message names it."""


@dataclass(slots=True)
class InputStatus:
    """The status of the input, for the display."""

    # The fault of the scanner, for people; empty while it works.
    problem: str = ""


@contextmanager
def open_input(name: str, status: InputStatus | None = None) -> Iterator[ReadBytes]:
    """Open an input: `stdin`, `serial:/dev/…` or `file:PATH`; raise InputError where that fails."""
    if name == "stdin":
        # Python has no standard input where the caller closed it.
        if sys.stdin is None:
            raise InputError("--input stdin: standard input is closed; name a scanner or a file")
        file = sys.stdin.fileno()
        with raw_keyboard(file):
            yield lambda seconds: _read_keyboard(file, seconds)
    elif name.startswith(SERIAL):
        with SerialScanner(name.removeprefix(SERIAL), status) as scanner:
            yield scanner.read
    elif name.startswith(FILE):
        try:
            opened = Path(name.removeprefix(FILE)).open("rb", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise InputError(f"--input {name}: {error.strerror}") from error
        with opened:
            yield lambda seconds: _read(opened.fileno(), seconds)
    else:
        raise InputError(f"--input {name}: is none of stdin, serial:/dev/…, file:PATH")


def is_keyboard(name: str) -> bool:
    """Return whether an input is a terminal, on which a person can type."""
    return name == "stdin" and sys.stdin.isatty()


def _read(file: int, seconds: float | None) -> bytes | None:
    """Read what there is; None after `seconds` without any, no bytes at the end."""
    if seconds is not None and not select.select([file], [], [], seconds)[0]:
        return None
    return os.read(file, _CHUNK_BYTES)


def _read_keyboard(file: int, seconds: float | None) -> bytes | None:
    try:
        return _read(file, seconds)
    except OSError:
        # The terminal was closed.
        return b""


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

    def read(self, seconds: float | None) -> bytes | None:
        """Read what there is; None after `seconds` without any. While the scanner is unplugged, wait for it."""
        while True:
            # A read of an unplugged scanner returns no bytes or fails, depending on the driver.
            with suppress(OSError):
                if self._file is None:
                    self._file = self._open()
                    self._status.problem = ""
                data = _read(self._file, seconds)
                if data is None or data:
                    return data
            self._close()
            self._status.problem = self._unplugged()
            sleep(_UNPLUGGED_SECONDS)
            if seconds is not None:
                return None

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
