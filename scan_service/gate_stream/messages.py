"""The messages of a gate's stream."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from scan_service.convert.scans import fill_scan
from scan_service.domain.gates import GateOpening
from scan_service.domain.recoveries import Resend
from ticketing.admission.scans import Scan
from ticketing.chassis.failures import Failure
from ticketing.chassis.interceptor import log_refused_messages
from ticketing.chassis.statuses import REASON_PREFIX
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import error_reason_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Credits:
    """The numbers of live and of offline scans that one stream may have unanswered."""

    scans: int
    uploads: int


def opened_message(opening: GateOpening, allowed: Credits) -> pb.StreamScansResponse:
    """Build the answer to `open`; replica_lag is absent where the replica has never been complete."""
    lag = None
    if opening.complete_time is not None:
        lag = _duration(max(timedelta(), opening.open_time - opening.complete_time))
    return pb.StreamScansResponse(
        opened=pb.GateOpened(
            event_name=opening.event_name,
            server_time=timestamp(opening.open_time),
            max_outstanding_scans=allowed.scans,
            max_outstanding_uploads=allowed.uploads,
            replica_lag=lag,
            resend=None if opening.resend is None else _resend(opening.resend),
        )
    )


def result_message(scan: Scan) -> pb.StreamScansResponse:
    """Build the answer to a live scan."""
    message = pb.StreamScansResponse()
    fill_scan(message.result, scan)
    return message


def annulled_message(scan: Scan) -> pb.StreamScansResponse:
    """Build the answer to a `passage` that annulled its scan."""
    message = pb.StreamScansResponse()
    fill_scan(message.annulled, scan)
    return message


def rejection(scan_id: str, failure: Failure) -> pb.Rejection:
    """Build the rejection of a scan or of a message."""
    reason = error_reason_pb2.ErrorReason.Value(REASON_PREFIX + failure.reason)
    retry_after = None if failure.retry_after is None else _duration(failure.retry_after)
    return pb.Rejection(scan_id=scan_id, reason=reason, message=failure.message, retry_after=retry_after)


def rejected_message(scan_id: str, failure: Failure) -> pb.StreamScansResponse:
    """Build the answer to a rejected message, and log it."""
    log_refused_messages("a scan was rejected", failure.reason, **logged_id(scan_id))
    return pb.StreamScansResponse(rejected=rejection(scan_id, failure))


def resend_message(resend: Resend) -> pb.StreamScansResponse:
    """Build the request to send scans again."""
    return pb.StreamScansResponse(resend=_resend(resend))


def _resend(resend: Resend) -> pb.Resend:
    return pb.Resend(recovery_id=str(resend.recovery_id), since_time=timestamp(resend.since_time))


def logged_id(scan_id: str) -> dict[str, str]:
    """Return the id of a scan for the log; a device may send any text in its place."""
    try:
        return {"scan_id": str(UUID(scan_id))}
    except ValueError:
        return {}


def reconnect_message(within: timedelta) -> pb.StreamScansResponse:
    """Build the request to connect again."""
    return pb.StreamScansResponse(reconnect=pb.Reconnect(within=_duration(within)))


def _duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(span)
    return message
