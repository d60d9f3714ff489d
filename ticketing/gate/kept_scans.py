"""The scans that the device has shown as admitted, which it sends again after the service has lost them.

A restored database of the service lacks the scans since the backup, and a ticket that was admitted then could be
admitted once more. The device is the only one that still has them.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from ticketing.gate.admission_store import AdmissionStore
from ticketing.gate.device_file import microseconds
from ticketing.gate.messages import time_of, timestamp
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

KEPT: Final = timedelta(days=7)
# About 400 bytes each.
MAX_KEPT: Final = 50_000
# The name of the setting with the recovery whose scans are queued or delivered.
_RESENT: Final = "resent"


class KeptScans(AdmissionStore):
    """The scans shown as admitted in the last `kept_for`; zero keeps none."""

    def __init__(self, path: Path, kept_for: timedelta = KEPT) -> None:
        super().__init__(path)
        self._kept_for = kept_for

    def keep(self, attempt: pb.ScanAttempt, now: datetime) -> None:
        """Keep an admitted scan in the form of an upload, in place of an earlier one; drop those that are too old."""
        since = microseconds(now - self._kept_for)
        scan_time = microseconds(time_of(attempt.offline.scan_time))
        if attempt.offline.verdict != scan_pb2.VERDICT_ADMITTED or scan_time <= since:
            return
        with self.transaction():
            self._run("DELETE FROM kept WHERE scan_time <= ?", since)
            row = (attempt.scan_id, attempt.SerializeToString(), scan_time)
            self._run("INSERT OR REPLACE INTO kept (scan_id, attempt, scan_time) VALUES (?, ?, ?)", *row)
            # The sequence grows with each insert.
            self._run("DELETE FROM kept WHERE sequence <= (SELECT max(sequence) FROM kept) - ?", MAX_KEPT)

    def annul_kept(self, scan_id: str, annul_time: datetime) -> None:
        """Store that a kept scan was annulled."""
        message = self._value("SELECT attempt FROM kept WHERE scan_id = ?", scan_id)
        if message is not None:
            attempt = pb.ScanAttempt.FromString(message)
            attempt.offline.annul_time.CopyFrom(timestamp(annul_time))
            self._run("UPDATE kept SET attempt = ? WHERE scan_id = ?", attempt.SerializeToString(), scan_id)

    def queue_kept(self, recovery_id: str, since: datetime) -> None:
        """Queue the scans kept since a time for delivery, once for each recovery of the service.

        A decision that waits for delivery stays: it may have an annulment that the kept scan lacks. Until the scans are
        delivered, the device denies a second scan of their tickets by itself.
        """
        with self.transaction():
            if self._value("SELECT value FROM settings WHERE name = ?", _RESENT) == recovery_id:
                return
            self._run(
                "INSERT OR IGNORE INTO decisions (scan_id, attempt)"
                " SELECT scan_id, attempt FROM kept WHERE scan_time >= ? ORDER BY scan_time",
                microseconds(since),
            )
            self._run("UPDATE own SET settle_time = NULL WHERE scan_id IN (SELECT scan_id FROM decisions)")
            self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", _RESENT, recovery_id)
