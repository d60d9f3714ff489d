"""Offline decisions, for tests that upload them."""

import uuid
from datetime import UTC, datetime, timedelta

from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED
IN, OUT, ACCESS = scan_pb2.SCAN_TYPE_CHECK_IN, scan_pb2.SCAN_TYPE_CHECK_OUT, scan_pb2.SCAN_TYPE_ACCESS
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def decided(  # noqa: PLR0913 - a decision's fields
    code, minute=0, *, verdict=ADMITTED, scan_id=None, kind=IN, annulled=False, **decision
):
    """Make an offline decision of `minute` minutes after BEGIN."""
    attempt = pb.ScanAttempt(scan_id=scan_id or str(uuid.uuid4()), code=code, scan_type=kind)
    if verdict == DENIED:
        decision.setdefault("denial_reason", scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)
    attempt.offline.CopyFrom(pb.OfflineDecision(verdict=verdict, **decision))
    attempt.offline.scan_time.FromDatetime(BEGIN + minute * MINUTE)
    if annulled:
        attempt.offline.annul_time.FromDatetime(BEGIN + minute * MINUTE + MINUTE / 2)
    return attempt
