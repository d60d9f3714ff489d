"""The delivery of offline decisions to the service over one stream, one upload after the other."""

import sqlite3
from contextlib import suppress
from time import monotonic
from typing import Final

from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import time_of
from ticketing.gate.store import Store
from ticketing.scans.v1 import error_reason_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

UPLOAD_SECONDS: Final = 30.0
UPLOAD_SCANS: Final = 500
# A message may have 1 MiB; UPLOAD_SCANS long texts that are not codes would exceed it.
UPLOAD_BYTES: Final = 256 * 1024
UPLOAD_PAUSE_SECONDS: Final = 5.0
# Rejections with these reasons are retried on the same stream.
RETRIED: Final = frozenset(
    {error_reason_pb2.ERROR_REASON_OVERLOADED, error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE}
)


class Delivery:
    """The uploads of one stream. gRPC's thread asks for uploads, and the thread of the stream handles their answers."""

    def __init__(self, store: Store, clock: DeviceClock) -> None:
        self._store = store
        self._clock = clock
        # The service states the maximum when it opens the stream.
        self.max_scans = 0
        # The scan ids whose upload the service rejected; the next stream tries again.
        self.rejected: set[str] = set()
        # The scan ids that the service could not record in an upload with others, such as those of locked tickets: the
        # others do not wait for them.
        self._postponed: set[str] = set()
        # Times of monotonic().
        self._postponed_until = 0.0
        self.next_time = 0.0
        self._uploading: tuple[pb.ScanAttempt, ...] = ()
        self._start = 0.0
        # The request of the service for scans that it has lost; None once it is answered.
        self._resend: pb.Resend | None = None

    def is_overdue(self, now: float) -> bool:
        """Return whether the answer to an upload has timed out."""
        return bool(self._uploading) and now - self._start > UPLOAD_SECONDS

    def next_upload(self) -> pb.Upload | None:
        """Return the next upload; None while there is nothing to deliver or an upload is not answered."""
        limit, now = min(UPLOAD_SCANS, self.max_scans), monotonic()
        if self._uploading or limit < 1 or now < self.next_time:
            return None
        if now >= self._postponed_until:
            self._postponed.clear()
        attempts: tuple[pb.ScanAttempt, ...] = ()
        with suppress(sqlite3.Error):
            # gRPC's thread outlives the stream by a moment; the store may be closed by then.
            if self._resend is not None:
                self._store.queue_kept(self._resend.recovery_id, time_of(self._resend.since_time))
            attempts = tuple(self._store.queued(limit, UPLOAD_BYTES, self.rejected | self._postponed))
        if not attempts:
            return None
        # The answer arrives in another thread, so the start is set first.
        self._start, self._uploading = monotonic(), attempts
        return pb.Upload(scans=attempts)

    def handle_resend(self, resend: pb.Resend) -> None:
        """Send the scans again that the service has lost; `next_upload` queues them, so that no scan waits for it."""
        self._resend = resend

    def next_report(self) -> pb.Resent | None:
        """Return the report that the scans are sent again; None while some are left, or nobody has asked for them.

        A scan that the service rejects remains in the queue, and does not delay the report.
        """
        resend = self._resend
        if resend is None or self._uploading or self.max_scans < 1:
            return None
        with suppress(sqlite3.Error):
            self._store.queue_kept(resend.recovery_id, time_of(resend.since_time))
            if self._store.queue_length() <= len(self.rejected):
                self._resend = None
                return pb.Resent(recovery_id=resend.recovery_id)
        return None

    def handle_rejection(self) -> None:
        """Handle the rejection of a whole upload."""
        if self._uploading:
            self._send_again()

    def handle_uploaded(self, uploaded: pb.Uploaded) -> None:
        """Remove what the service has recorded from the queue."""
        recorded = {scan.scan_id for scan in uploaded.results}
        try:
            self._store.remove_delivered([scan for scan in self._uploading if scan.scan_id in recorded], self._clock())
        except sqlite3.Error:
            # The disk fails: the decisions are sent again, which changes nothing at the service.
            self._send_again()
            return
        retried = {rejection.scan_id for rejection in uploaded.rejected if rejection.reason in RETRIED}
        self.rejected |= {scan.scan_id for scan in self._uploading} - recorded - retried
        if retried and not recorded:
            self._send_again()
            return
        self._uploading = ()
        if retried and not self._postponed:
            self._postponed_until = monotonic() + UPLOAD_PAUSE_SECONDS
        self._postponed |= retried

    def _send_again(self) -> None:
        self.next_time, self._uploading = monotonic() + UPLOAD_PAUSE_SECONDS, ()
