"""Becomes another program: `python -I -S starter.py PARENT SIGNAL USER GROUP PROGRAM ARGUMENT…`.

It changes the user, unless `USER` is empty, and on Linux it asks for `SIGNAL` at the end of its parent. In a copy of a
process with threads, between fork() and exec(), this code could wait for ever for a lock of a thread that the copy lacks.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Shells use this status for a program that they cannot run.
CANNOT_RUN = 127


def main(parent: str, death_signal: str, user: str, group: str, *command: str) -> None:
    """Become the program `command[0]`; exit with 127 if that is impossible."""
    try:
        if user:
            os.setgroups([])
            os.setgid(int(group))
            os.setuid(int(user))
        if sys.platform == "linux":
            # It follows the change of the user, which would undo it.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            sys.exit(CANNOT_RUN)
        # Python ignores these signals, and a program would inherit that.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 - the commands are our own
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main(*sys.argv[1:])
