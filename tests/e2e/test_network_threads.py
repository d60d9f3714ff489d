"""One thread of each service reads the connections of its callers (docs/decisions/0053-the-poller-of-calls.md)."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.service_pair import ServicePair

pytestmark = pytest.mark.slow

CALLS = 400


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not tell what threads do")
@pytest.mark.parametrize("module", ["ticket_service", "scan_service"])
def test_calls_wake_no_thread_of_the_event_engine(pair: ServicePair, module: str) -> None:
    service = pair.running[module]
    with grpc.insecure_channel(service.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest())
        before = wake_ups(service.pid)
        for _ in range(CALLS):
            stub.Check(health_pb2.HealthCheckRequest())
    # They have timers and connections to the other service. With gRPC's default each call wakes one of them three times.
    assert wake_ups(service.pid) - before < CALLS


def wake_ups(pid: int) -> int:
    """Count how often the threads of gRPC's event engine have waited."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    engine = [task for task in tasks if (task / "comm").read_text().strip() == "event_engine"]
    lines = [line for task in engine for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))
