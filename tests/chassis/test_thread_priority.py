import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import ROOT

pytestmark = pytest.mark.slow

NETWORK = ("poller", "event_engine", "lifeguard")
# This program prints the name and the priority of every thread of a process that has just started a server.
PROGRAM = """
import asyncio, os, threading
from contextlib import suppress
from pathlib import Path
from ticketing.chassis.grpc_variables import set_grpc_variables
set_grpc_variables()
import grpc.aio
from ticketing.chassis.thread_priority import lower_network_priority

def names():
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[task.name] = (task / "comm").read_text().strip()
    [poller] = [thread.native_id for thread in threading.enumerate() if "poll" in thread.name]
    return found | {str(poller): "poller"}

async def serve():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # gRPC starts, names and ends threads at any time: only those that keep their name throughout count.
    before = names()
    lower_network_priority()
    for task, name in names().items() & before.items():
        print(name, os.getpriority(os.PRIO_PROCESS, int(task)))
    await server.stop(None)

asyncio.run(serve())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have no priority of their own here")
def test_only_network_threads_get_a_lower_priority() -> None:
    output = subprocess.check_output([sys.executable, "-c", PROGRAM], cwd=ROOT, text=True, timeout=60)
    threads = [line.rsplit(" ", 1) for line in output.splitlines()]
    network = {(name, priority) for name, priority in threads if name in NETWORK}
    others = {priority for name, priority in threads if name not in NETWORK}
    assert (network, others) == ({(name, "10") for name in NETWORK}, {str(os.nice(0))})
