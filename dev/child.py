"""Run a service that stops when its parent process ends: `python -m dev.child ticket_service`."""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request SIGTERM from the kernel for the parent's end (Linux only), then run the service."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # A parent that ended before the prctl call sends no signal any more.
        if os.getppid() != parent:
            return
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
