"""File locks (flock): the kernel releases them when the last descriptor is closed, after `kill -9` too.

Programs that a process starts do not inherit Python's descriptors, so they do not inherit the locks either; a forked copy
of the process without an exec does.
"""

import fcntl
import os
import time
from pathlib import Path

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX

_POLL_SECONDS = 0.02


def take(path: Path, mode: int, wait_seconds: float) -> int | None:
    """Return a descriptor that keeps the lock until it is closed; None if other processes had the lock all the time."""
    deadline = time.monotonic() + wait_seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # The loop polls, because flock has no timeout.
    while not change(descriptor, mode):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(_POLL_SECONDS)
    return descriptor


def change(descriptor: int, mode: int) -> bool:
    """Try to lock in `mode`; if that fails, a lock in the other mode is lost."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_exclusive(path: Path) -> bool:
    """Return whether a process has the lock exclusively; this takes the lock shared for a moment."""
    descriptor = take(path, SHARED, wait_seconds=0)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
