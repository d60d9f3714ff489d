"""What it takes to reach the scan service, and how it stands with that."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import grpc

from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

# The credential is not taken, any more or yet: nobody may be let in with it.
REFUSALS: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Link:
    """What it takes to open a gate."""

    stub: ScanServiceStub
    # The device's credential.
    metadata: Metadata
    gate: scan_pb2.Gate


class State(StrEnum):
    """How the connection is."""

    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    REFUSED = "REFUSED"


# What gRPC says, among addresses and sockets, where the way to the service is shut, and what people are told of it.
_CERTIFICATES: Final = {
    "CERTIFICATE_VERIFY_FAILED": "the service's certificate is not by an authority of --ca",
    "Hostname Verification": "the service's certificate is for another name than --server",
    "WRONG_VERSION_NUMBER": "the service does not speak TLS there",
}

# Nothing is to be waited for.
AWAY: Final = frozenset({State.OFFLINE, State.REFUSED})


@dataclass(frozen=True, slots=True)
class Status:
    """How the connection is, for the display."""

    state: State = State.CONNECTING
    event_name: str = ""
    # Why it is not open, for people.
    problem: str = ""


def said(error: grpc.RpcError) -> str:
    """Say for people why a call failed; a service that only hangs up may want TLS, or a certificate."""
    details = error.details() or ""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return details
    return next((told for sign, told in _CERTIFICATES.items() if sign in details), "no connection to the service")
