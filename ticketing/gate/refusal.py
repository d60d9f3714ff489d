"""The errors of a call: refusals of the scan service, and faults of the network, such as a proxy that answers itself."""

import re
from dataclasses import dataclass
from typing import Final

import grpc

from ticketing.client.details import details_of

# The contract states the domain and the reasons (error_reason.proto).
DOMAIN: Final = "scans.ticketing"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
FORBIDDEN: Final = "FORBIDDEN"
_MAX_TEXT: Final = 120

# The cause for people, by a part of gRPC's error message. The message itself lists addresses and sockets. The display
# has 70 characters for each.
_TLS_PROBLEMS: Final = {
    "certificate has expired": "the service's certificate has expired, or this device's clock is wrong",
    "certificate is not yet valid": "the service's certificate is not valid yet: is the clock wrong?",
    "CERTIFICATE_VERIFY_FAILED": "the service's certificate is not by an authority of --ca",
    "Hostname Verification": "the service's certificate is for another name than --server",
    "WRONG_VERSION_NUMBER": "the service does not use TLS there",
}
# The scan service sends an ErrorInfo with each of these codes.
_FOREIGN: Final = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
)
_ADVICE: Final = {
    UNAUTHENTICATED: "enroll this device again with a new code, or renew its --token-file",
    FORBIDDEN: "check --event and --token-file, or ask the organizer to allow this device",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the scan service that the device may not scan."""

    # UNAUTHENTICATED or FORBIDDEN.
    reason: str
    # The message of the service.
    text: str

    @property
    def advice(self) -> str:
        """Return for people what ends the refusal."""
        return _ADVICE[self.reason]


def refusal_of(error: grpc.RpcError) -> Refusal | None:
    """Return the refusal in an error; None for every error without the service's own ErrorInfo.

    Proxies, sign-in pages of a Wi-Fi and other servers send the same status codes.
    """
    reason = _own_reason(error)
    if reason not in _ADVICE:
        return None
    return Refusal(reason, f"{error.code().name}: {_one_line(error.details())}")


def error_text(error: grpc.RpcError, *, with_code: bool = True) -> str:
    """Describe for people why a call failed; a service that only closes connections may require a certificate."""
    code, details = error.code(), error.details() or ""
    text = f"{code.name}: {_one_line(details)}" if with_code else _one_line(details)
    if _own_reason(error):
        return text
    if code is grpc.StatusCode.UNAVAILABLE:
        return next((text for sign, text in _TLS_PROBLEMS.items() if sign in details), "no connection to the service")
    if code in _FOREIGN or "http2 header" in details or "content-type" in details:
        return f"a sign-in page or proxy answers, not the service ({code.name})"
    return text


def _own_reason(error: grpc.RpcError) -> str:
    """Return the reason of the scan service's ErrorInfo; empty if there is none."""
    details = details_of(error.trailing_metadata())
    return details.reason if details.domain == DOMAIN else ""


def _one_line(text: str | None) -> str:
    """Return a text of another program as one short line without control characters."""
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]+|\s+", " ", text or "").strip()[:_MAX_TEXT]
