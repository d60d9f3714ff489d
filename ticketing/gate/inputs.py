"""The inputs of codes: standard input, a serial scanner, or a file."""

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Final, Self

from ticketing.gate.scanner_text import ReadBytes

SERIAL: Final = "serial:"
FILE: Final = "file:"
_UNPLUGGED_SECONDS: Final = 1.0


class InputError(Exception):
    """The named input does not exist or cannot be opened; the message names it."""


@contextmanager
def open_input(name: str) -> Iterator[ReadBytes]:
    """Open an input: `stdin`, `serial:/dev/…` or `file:PATH`; raise InputError where that fails."""
    if name == "stdin":
        with _silent_keyboard(sys.stdin.fileno()):
            yield lambda size: os.read(sys.stdin.fileno(), size)
    elif name.startswith(SERIAL):
        with SerialScanner(name.removeprefix(SERIAL)) as scanner:
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

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._open()
        except OSError as error:
            raise InputError(f"--input {SERIAL}{self._path}: {error.strerror}") from error
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
                if data := os.read(self._file, size):
                    return data
            self._close()
            sleep(_UNPLUGGED_SECONDS)

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
