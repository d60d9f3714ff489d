"""Readiness follows the database and the feed of both services as processes; liveness does not."""

import signal
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy.engine import URL

from tests.e2e.service_pair import ServicePair
from tests.environment.http_port import get, readiness
from tests.environment.postgres_processes import stopped
from tests.environment.waiting import eventually
from tests.processes.service import ServiceProcess
from ticketing.chassis.health import READINESS
from ticketing.chassis.probe import is_ready, is_serving

pytestmark = pytest.mark.slow

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LEADS = 'ticketing_task_last_success_timestamp_seconds{task="replica"}'


@pytest.mark.timeout(180)
def test_a_database_that_hangs_makes_both_services_not_ready(pair: ServicePair, tickets_url: URL) -> None:
    services = list(pair.running.values())
    channels = [pair.stack.enter_context(grpc.insecure_channel(service.address)) for service in services]
    stubs: list[Any] = [health_pb2_grpc.HealthStub(channel) for channel in channels]
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service=READINESS)) for stub in stubs]
    assert [next(watch).status for watch in watches] == [SERVING, SERVING]
    with stopped(tickets_url):
        assert [next(watch).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
        for service in services:
            status, body = readiness(service.metrics_port)
            assert (status, "database" in body["not_ready"]) == (503, True)
            assert get(service.metrics_port, "/livez")[0] == 200
            assert is_serving(service.address, seconds=20)
            assert not is_ready(service.address, seconds=20)
    assert [next(watch).status for watch in watches] == [SERVING, SERVING]
    assert [readiness(service.metrics_port)[0] for service in services] == [200, 200]


@pytest.mark.timeout(180)
def test_a_stopped_leader_of_the_feed_is_replaced(pair: ServicePair) -> None:
    first = pair.running["scan_service"]
    eventually(lambda: LEADS in get(first.metrics_port, "/metrics")[1])
    with ServiceProcess("scan_service", {**pair.variables, "SCANS_PORT": "0"}) as second:
        first.send(signal.SIGSTOP)

        def second_leads() -> bool:
            assert readiness(second.metrics_port)[0] == 200
            return LEADS in get(second.metrics_port, "/metrics")[1]

        eventually(second_leads)
        first.send(signal.SIGCONT)
        # The first process notices that it lost its session, and does not lead.
        eventually(lambda: LEADS not in get(first.metrics_port, "/metrics")[1])
        assert readiness(first.metrics_port)[0] == 200
