"""The messages of a gate's stream."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from scan_service.convert.scans import scan_message
from scan_service.store.gates import Opening
from ticketing.admission.scans import Scan
from ticketing.chassis.failures import Failure
from ticketing.chassis.statuses import REASON_PREFIX
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import error_reason_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Credits:
    """What one stream may have unanswered."""

    scans: int
    uploads: int


def opened_message(opening: Opening, now: datetime, allowed: Credits) -> pb.StreamScansResponse:
    """Say that the gate is open; no replica_lag where the copy has never been whole."""
    lag = None if opening.whole_time is None else _duration(max(timedelta(), now - opening.whole_time))
    return pb.StreamScansResponse(
        opened=pb.GateOpened(
            event_name=opening.event_name,
            server_time=timestamp(now),
            max_outstanding_scans=allowed.scans,
            max_outstanding_uploads=allowed.uploads,
            replica_lag=lag,
        )
    )


def result_message(scan: Scan) -> pb.StreamScansResponse:
    """Answer a scan."""
    return pb.StreamScansResponse(result=scan_message(scan))


def annulled_message(scan: Scan) -> pb.StreamScansResponse:
    """Say that a scan was taken back."""
    return pb.StreamScansResponse(annulled=scan_message(scan))


def rejection(scan_id: str, failure: Failure) -> pb.Rejection:
    """Say why a scan or a message is not taken."""
    reason = error_reason_pb2.ErrorReason.Value(REASON_PREFIX + failure.reason)
    return pb.Rejection(scan_id=scan_id, reason=reason, message=failure.message)


def rejected_message(scan_id: str, failure: Failure) -> pb.StreamScansResponse:
    """Say that a message is not taken, and why."""
    return pb.StreamScansResponse(rejected=rejection(scan_id, failure))


def reconnect_message(within: timedelta) -> pb.StreamScansResponse:
    """Ask the device to connect again."""
    return pb.StreamScansResponse(reconnect=pb.Reconnect(within=_duration(within)))


def _duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(span)
    return message
