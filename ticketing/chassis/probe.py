"""Health probe of a service: `python -m ticketing.chassis.probe 127.0.0.1:50051` exits with 0 if it is healthy.

The probe uses TLS where the settings name a CA (TICKETING_TLS_CA).
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import PLAIN, Tls
from ticketing.chassis.tls_settings import read_tls

PROBE_SECONDS = 2.0


def is_serving(address: str, seconds: float = PROBE_SECONDS, tls: Tls = PLAIN) -> bool:
    """Return whether the service at `address` reports within `seconds` that it is serving."""
    with tls.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            # With wait_for_ready the call itself waits for the server, so callers that repeat it need no sleep.
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds, wait_for_ready=True)  # type: ignore[attr-defined]  # missing in the stubs
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1], tls=read_tls(Environment(os.environ))) else 1)
