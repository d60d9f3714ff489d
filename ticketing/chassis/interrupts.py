"""Ctrl-C ends a program without a traceback, whatever the program does at that moment.

A `__main__` module calls `end_at_once` before its other imports, which take up to a second, and `quietly` runs the rest.
"""

import signal
from collections.abc import Callable
from typing import Final

# The exit status that shells report for SIGINT.
INTERRUPTED: Final = 130


def end_at_once() -> None:
    """Let SIGINT end the process as the kernel does by default; a process that ignores SIGINT goes on to ignore it."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def quietly(main: Callable[[], int]) -> int:
    """Run `main`, whose `finally` clauses run at Ctrl-C too; return its exit status, 130 after Ctrl-C."""
    is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if not is_ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # The interpreter waits for its threads at the end, and would print a traceback for Ctrl-C there.
        end_at_once()
