"""Health probe of a service: `python -m ticketing.chassis.probe 127.0.0.1:50051` exits with 0 if the service answers.

With `--ready` it exits with 0 only if the service is ready for calls. The probe uses TLS where the settings name a CA
(TICKETING_TLS_CA).
"""

import os
import ssl
import sys
import urllib.request
from http import HTTPStatus

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ticketing.chassis.arguments import Parser
from ticketing.chassis.health import READINESS
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import PLAIN, Tls
from ticketing.chassis.tls_settings import read_tls

PROBE_SECONDS = 2.0


def is_serving(address: str, seconds: float = PROBE_SECONDS, tls: Tls = PLAIN, name: str = "") -> bool:
    """Return whether the service at `address` reports within `seconds` that it is serving, as the health of `name`."""
    with tls.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=name)
        try:
            # With wait_for_ready the call itself waits for the server, so callers that repeat it need no sleep.
            answer = stub.Check(request, timeout=seconds, wait_for_ready=True)  # type: ignore[attr-defined]  # missing in the stubs
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def is_ready(address: str, seconds: float = PROBE_SECONDS, tls: Tls = PLAIN) -> bool:
    """Return whether the service at `address` reports within `seconds` that it is ready for calls."""
    return is_serving(address, seconds, tls, READINESS)


def answers_http(address: str, path: str, tls: Tls = PLAIN, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the HTTP port at `address` answers 200 for the path; it has TLS where the settings name a certificate."""
    context = None
    if tls.identity is not None:
        # The probe runs beside the program, and asks about its health, not about its name.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(tls.identity.certificate, tls.identity.key)
    url = f"{'http' if context is None else 'https'}://{address}{path}"
    try:
        with urllib.request.urlopen(url, timeout=seconds, context=context) as answer:  # noqa: S310 - always http or https
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Probe a service; return 0 where it is healthy, 1 where not or where the certificates cannot be used."""
    parser = Parser(prog="python -m ticketing.chassis.probe", description="Ask a service for its health.")
    parser.add_argument("address", metavar="HOST:PORT", help="the address of the service")
    parser.add_argument("--ready", action="store_true", help="ask whether the service is ready, not only alive")
    parser.add_argument("--http", action="store_true", help="ask the HTTP port, which the relay has too")
    options = parser.parse_args(arguments)
    try:
        tls = read_tls(Environment(os.environ))
        if options.http:
            is_healthy = answers_http(options.address, "/readyz" if options.ready else "/livez", tls)
        else:
            is_healthy = (is_ready if options.ready else is_serving)(options.address, tls=tls)
    except (OSError, ValueError) as error:
        print(f"probe: the certificates cannot be used: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return 1
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(quietly(lambda: main(sys.argv[1:])))
