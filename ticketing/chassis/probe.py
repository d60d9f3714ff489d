"""Ask a service whether it is healthy: `python -m ticketing.chassis.probe 127.0.0.1:50051` ends with 0 if it says so.

By TLS where the settings are those of a service that calls by TLS.
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import PLAIN, Tls, read_tls

PROBE_SECONDS = 2.0


def is_serving(address: str, seconds: float = PROBE_SECONDS, tls: Tls = PLAIN) -> bool:
    """Tell whether the service at `address` answers within `seconds` that it serves."""
    with tls.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            # wait_for_ready makes the call the wait: whoever asks again and again needs no sleep.
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds, wait_for_ready=True)  # type: ignore[attr-defined]  # missing in the stubs
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(sys.argv[1], tls=read_tls(Environment(os.environ))) else 1)
