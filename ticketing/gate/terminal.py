"""The terminal on which a scanner types: its bytes arrive unchanged, and it is restored however the program ends."""

import os
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

# The signals that end the program in an orderly way. SIGINT raises KeyboardInterrupt anyway.
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INPUT: Final = (
    termios.BRKINT
    | termios.IGNBRK
    | termios.PARMRK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
    | termios.IXOFF
)
_LOCAL: Final = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


@contextmanager
def raw_keyboard(file: int) -> Iterator[None]:
    """Let every byte of a terminal arrive as it is, without echo, signals, flow control and a bound on lines.

    A scanner types what a guest has printed, also Ctrl-C, Ctrl-Z or Ctrl-S. The output keeps its line ends.
    """
    if not os.isatty(file):
        yield
        return
    before = termios.tcgetattr(file)
    raw = termios.tcgetattr(file)
    raw[0] &= ~_INPUT
    raw[3] &= ~_LOCAL
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    # The bytes that the scanner has sent already are kept.
    termios.tcsetattr(file, termios.TCSADRAIN, raw)
    try:
        yield
    finally:
        # The rest of the input is discarded: a shell would execute what the scanner typed last.
        termios.tcsetattr(file, termios.TCSAFLUSH, before)


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """End the program by SystemExit at a signal such as SIGTERM, so that the terminal is restored."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        for ending in _ENDING:
            # A second signal must not interrupt the restoration.
            signal.signal(ending, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {ending: signal.signal(ending, end) for ending in _ENDING}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
