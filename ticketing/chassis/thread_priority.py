"""The priority of gRPC's network threads, which decides the order of work when all cores are busy."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

# The function of the thread of grpc.aio that reads the connections of callers.
POLLER: Final = "_poll_wrapper"
# gRPC's threads that read all other connections, and the thread that starts more of them; new threads inherit its priority.
NETWORK_THREADS: Final = ("event_engine", "lifeguard")
# A nice value. With 5 the attack below still made answers 2.1 to 2.8 times as slow; with 19 these threads would get
# almost no time on cores that other programs keep busy.
NETWORK_NICE: Final = 10


def lower_network_priority() -> None:
    """Let calls under way run before new input is read; call it once gRPC's threads run.

    Streams opened and reset by the thousand (CVE-2023-44487) cost those threads 3 us each, before any of our code runs:
    one attacker took most of a core, and other callers waited 2.7 to 4.1 times as long. With this priority they waited
    1.4 to 2.1 times as long; neither rates nor p99 of normal calls changed. Where threads have no priority of their own,
    as on macOS, the function does nothing.
    """
    pollers = [thread.native_id for thread in threading.enumerate() if POLLER in thread.name]
    for task in Path("/proc/self/task").glob("*"):
        # A thread may end meanwhile, and a sandbox may forbid the change; neither prevents the service from serving.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if int(task.name) in pollers or (task / "comm").read_text().strip() in NETWORK_THREADS:
                os.setpriority(os.PRIO_PROCESS, int(task.name), NETWORK_NICE)
