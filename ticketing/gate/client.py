"""The client of the scan service: the device's credential and gate, the waits between streams, and texts of errors."""

from dataclasses import dataclass
from typing import Final

import grpc

from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# The waits between two attempts to open a stream.
FIRST_BACKOFF_SECONDS: Final = 0.5
MAX_BACKOFF_SECONDS: Final = 4.0

# With these codes the service refuses the credential, also for one event alone: the device admits nobody.
REFUSALS: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

# The cause for people, by a part of gRPC's error message. The message itself lists addresses and sockets.
_TLS_PROBLEMS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "the service's certificate is not by an authority of --ca",
    "Hostname Verification": "the service's certificate is for another name than --server",
    "WRONG_VERSION_NUMBER": "the service does not use TLS there",
}

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScanServiceClient:
    """The stub of the scan service, with the credential and the gate of this device."""

    stub: ScanServiceStub
    metadata: Metadata
    gate: scan_pb2.Gate


def error_text(error: grpc.RpcError) -> str:
    """Describe for people why a call failed; a service that only closes connections may require a certificate."""
    details = error.details() or ""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return details
    return next((problem for sign, problem in _TLS_PROBLEMS.items() if sign in details), "no connection to the service")
