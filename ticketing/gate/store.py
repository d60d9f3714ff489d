"""The rest of the device's file: settings, requests whose answer was not shown, and the decisions to deliver."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.device_file import microseconds
from ticketing.gate.kept_scans import KeptScans
from ticketing.gate.messages import time_of, timestamp
from ticketing.gate.refusal import FORBIDDEN, UNAUTHENTICATED, Refusal
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The name of the setting; that of a refusal for one event ends with the event's id.
_REFUSED: Final = "refusal"
_CLOCK: Final = "clock"


class Store(KeptScans):
    """The device's file."""

    def setting(self, name: str) -> str | None:
        """Return the value stored under a name, or None."""
        value: str | None = self._value("SELECT value FROM settings WHERE name = ?", name)
        return value

    def save_setting(self, name: str, value: str) -> None:
        """Store a value under a name."""
        self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def save_clock(self, clock: DeviceClock) -> None:
        """Store what the clock of the next run needs to know."""
        self.save_setting(_CLOCK, clock.state())

    def read_clock(self) -> str | None:
        """Return what `save_clock` stored."""
        return self.setting(_CLOCK)

    def refusal(self, event_id: UUID) -> Refusal | None:
        """Return the refusal of the device's credential, for all events or for one; None if there is none."""
        for reason, name in ((UNAUTHENTICATED, _REFUSED), (FORBIDDEN, f"{_REFUSED}:{event_id}")):
            if text := self.setting(name):
                return Refusal(reason, text)
        # Older versions also stored the errors of proxies here.
        if (text := self.setting("refused")) and text.startswith("UNAUTHENTICATED: not authenticated: "):
            return Refusal(UNAUTHENTICATED, text)
        return None

    def save_refusal(self, refusal: Refusal, event_id: UUID) -> None:
        """Store a refusal; FORBIDDEN concerns one event."""
        self.save_setting(_REFUSED if refusal.reason == UNAUTHENTICATED else f"{_REFUSED}:{event_id}", refusal.text)

    def clear_refusals(self, event_id: UUID | None = None) -> None:
        """Delete the refusals that concern an event; None: all of them."""
        name = f"{_REFUSED}:%" if event_id is None else f"{_REFUSED}:{event_id}"
        self._run("DELETE FROM settings WHERE name IN (?, 'refused') OR name LIKE ?", _REFUSED, name)

    def begin_scan(self, scan_id: UUID, request: bytes, now: datetime) -> None:
        """Store a request before it is sent."""
        self._run("INSERT INTO asked VALUES (?, ?, ?, NULL)", str(scan_id), request, microseconds(now))

    def unfinished_scan(self, request: bytes, since: datetime) -> tuple[UUID, scan_pb2.Scan | None] | None:
        """Return the scan of an equal request whose answer was not shown, with the answer if there is one."""
        with self.transaction():
            self._run("DELETE FROM asked WHERE begin_time < ?", microseconds(since))
            row = self._row("SELECT scan_id, answer FROM asked WHERE question = ?", request)
        if row is None:
            return None
        return UUID(row[0]), None if row[1] is None else scan_pb2.Scan.FromString(row[1])

    def save_answer(self, scan: scan_pb2.Scan) -> None:
        """Store the answer before it is shown."""
        self._run("UPDATE asked SET answer = ? WHERE scan_id = ?", scan.SerializeToString(), scan.scan_id)

    def finish_scan(self, scan_id: str) -> None:
        """Delete a request whose answer was shown."""
        self._run("DELETE FROM asked WHERE scan_id = ?", scan_id)

    def enqueue(self, attempt: pb.ScanAttempt, clock: DeviceClock | None = None) -> None:
        """Store a decision for delivery; it replaces an earlier one of the scan and goes to the end of the queue.

        `clock` is given where it does not know the time of the decision; `correct_times` mends it once it does.
        """
        boot_id, boot_time = None, None
        if clock is not None:
            boot_id = clock.boot_id
            boot_time = (time_of(attempt.offline.scan_time) - clock.start) // timedelta(microseconds=1)
        with self.transaction():
            self._run("DELETE FROM decisions WHERE scan_id = ?", attempt.scan_id)
            row = (attempt.scan_id, attempt.SerializeToString(), boot_id, boot_time)
            self._run("INSERT INTO decisions (scan_id, attempt, boot_id, boot_time) VALUES (?, ?, ?, ?)", *row)

    def correct_times(self, boot_id: str, start: datetime) -> None:
        """Correct the estimated times of the decisions since a start of the machine, whose time is known now."""
        with self.transaction():
            query = "SELECT sequence, attempt, boot_time FROM decisions WHERE boot_id = ?"
            for sequence, message, boot_time in self._rows(query, boot_id):
                attempt = pb.ScanAttempt.FromString(message)
                time = start + boot_time * timedelta(microseconds=1)
                if attempt.offline.HasField("annul_time"):
                    since = time_of(attempt.offline.annul_time) - time_of(attempt.offline.scan_time)
                    attempt.offline.annul_time.CopyFrom(timestamp(time + since))
                attempt.offline.scan_time.CopyFrom(timestamp(time))
                attempt.offline.clock_unknown = False
                row = (attempt.SerializeToString(), sequence)
                self._run("UPDATE decisions SET attempt = ?, boot_id = NULL, boot_time = NULL WHERE sequence = ?", *row)

    def queued(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> Sequence[pb.ScanAttempt]:
        """Return up to `limit` of the oldest decisions of the queue, but for the scan ids `without`.

        All together have at most `max_bytes`, unless the first one alone has more.
        """
        result: list[pb.ScanAttempt] = []
        size = 0
        with self._lock, self._noting_problems():
            for scan_id, attempt in self._database.execute("SELECT scan_id, attempt FROM decisions ORDER BY sequence"):
                if scan_id in without:
                    continue
                size += len(attempt)
                if len(result) == limit or (result and size > max_bytes):
                    break
                result.append(pb.ScanAttempt.FromString(attempt))
        return result

    def queue_length(self) -> int:
        """Count the decisions of the queue."""
        return int(self._value("SELECT count(*) FROM decisions"))

    def is_queued(self, scan_id: str) -> bool:
        """Return whether the queue contains a decision on a scan."""
        return self._row("SELECT 1 FROM decisions WHERE scan_id = ?", scan_id) is not None

    def remove_delivered(self, attempts: Collection[pb.ScanAttempt], now: datetime) -> None:
        """Remove decisions that the service has recorded, unless they have changed since they were sent."""
        with self.transaction():
            for attempt in attempts:
                row = (attempt.scan_id, attempt.SerializeToString())
                self._run("DELETE FROM decisions WHERE scan_id = ? AND attempt = ?", *row)
                self.keep(attempt, now)
                self._run("UPDATE own SET settle_time = ? WHERE scan_id = ?", microseconds(now), attempt.scan_id)
