"""File locks (flock): the kernel drops them when the last descriptor is closed, by `kill -9` too.

Programs that a process starts do not inherit Python's descriptors, so neither do they inherit the locks; a forked copy
of the process without an exec does.
"""

import fcntl
import os
import time
from contextlib import ExitStack
from enum import IntEnum
from pathlib import Path

_POLL_SECONDS = 0.02


class Mode(IntEnum):
    """Whether others may hold the lock at the same time."""

    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


def take(path: Path, mode: Mode, wait_seconds: float) -> int | None:
    """Return a descriptor that holds the lock until it is closed, None if others held it all the time."""
    deadline = time.monotonic() + wait_seconds
    with ExitStack() as unless_taken:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        unless_taken.callback(os.close, descriptor)
        # flock itself knows no deadline, hence the polling.
        while not change(descriptor, mode):
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_SECONDS)
        unless_taken.pop_all()
    return descriptor


def change(descriptor: int, mode: Mode) -> bool:
    """Try to hold the lock in this mode; a lock that was held in the other one is lost if that fails."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held_exclusively(path: Path) -> bool:
    """Tell whether somebody holds the lock; takes it shared for a moment to find out."""
    descriptor = take(path, Mode.SHARED, wait_seconds=0)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
