"""File locks (flock): the kernel drops them when the last descriptor is closed, by `kill -9` too.

Python's descriptors are not inherited by programs that a process starts, so neither are the locks.
"""

import fcntl
import os
import time
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # flock itself knows no deadline, hence the polling.
        while not change(descriptor, mode):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_SECONDS)
    except BaseException:
        os.close(descriptor)
        raise
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
