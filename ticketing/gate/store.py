"""The device's SQLite file: the device replica, the device's own admissions, and the decisions to deliver.

Every transaction, and every statement outside one, is on disk before its method returns (`synchronous=FULL`), so a
power cut loses no shown answer. One process owns the file; a second process gets the error that the file is locked.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ticketing.admission.tickets import AdmissionState, Ticket
from ticketing.gate.messages import EventRules, admission_of, previous_message, rules_of, ticket_of
from ticketing.gate.refusal import FORBIDDEN, UNAUTHENTICATED, Refusal
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

VERSION: Final = 1
# A change that arrives this soon after the record of the device's scan may have been sent before that record.
IN_FLIGHT: Final = timedelta(seconds=10)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# The name of the setting; that of a refusal for one event ends with the event's id.
_REFUSED: Final = "refusal"

_SCHEMA: Final = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # The replica stores GateRules and TicketAdmission as received.
    "CREATE TABLE copies (event_id BLOB PRIMARY KEY, rules BLOB, cursor TEXT NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE tickets (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL, PRIMARY KEY (event_id, ticket_id))"
        " WITHOUT ROWID"
    ),
    # The admission state of a ticket after the device's own scans, until the replica is as new: a TicketAdmission.
    # `settle_time` is the time when the service was known to have recorded the scan; NULL before.
    (
        "CREATE TABLE own (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL, scan_id TEXT NOT NULL,"
        " change_time INTEGER NOT NULL, settle_time INTEGER, PRIMARY KEY (event_id, ticket_id)) WITHOUT ROWID"
    ),
    "CREATE INDEX own_scan ON own (scan_id)",
    # Scans whose answer was not shown yet; `answer` is a Scan, or NULL before the answer.
    (
        "CREATE TABLE asked (scan_id TEXT PRIMARY KEY, question BLOB NOT NULL, begin_time INTEGER NOT NULL, answer BLOB)"
        " WITHOUT ROWID"
    ),
    # Offline decisions that were not delivered yet: a ScanAttempt.
    "CREATE TABLE decisions (sequence INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, attempt BLOB NOT NULL)",
)


# The cause of an error for people, by SQLite's error code.
_PROBLEMS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free space on it",
    sqlite3.SQLITE_READONLY: "the disk is read-only",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_CORRUPT: "the device's file is damaged",
    sqlite3.SQLITE_NOTADB: "the device's file is damaged",
}


class StoreError(Exception):
    """The file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class OwnAdmission:
    """The admission state of a ticket after a scan of this device."""

    event_id: UUID
    ticket_id: UUID
    admission: AdmissionState
    # The scan, and its time by the service's clock; all other times in this file are the device's.
    scan_id: str
    change_time: datetime


class Store:
    """The device's file, created if it does not exist; several threads may use it.

    Raises:
        StoreError: the file is not of this program, or another process has locked it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        # The error of the latest write or read, for people; empty again after a write to the disk.
        self.problem = ""
        self._changes = 0
        try:
            # The file contains the device's credential.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._prepare()
        except (sqlite3.Error, StoreError) as error:
            self._database.close()
            raise StoreError(f"{path}: {error}") from error

    def _prepare(self) -> None:
        # The process keeps the lock from the first access to its end, so SQLite needs no shared memory.
        self._run("PRAGMA locking_mode = EXCLUSIVE")
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")
        with self.transaction():
            version = self._value("PRAGMA user_version")
            if version == 0:
                for statement in _SCHEMA:
                    self._run(statement)
                self._run(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise StoreError(f"the file is of version {version}, this program of {VERSION}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in a transaction that is on disk at its end; a nested block joins the outer transaction."""
        with self._lock:
            if self._database.in_transaction:
                yield
                return
            self._run("BEGIN IMMEDIATE")
            try:
                yield
                self._run("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        # SQLite has rolled back already after most errors of the disk. A transaction that stays open would swallow
        # every later one.
        if self._database.in_transaction:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
        self._changes = self._database.total_changes

    def setting(self, name: str) -> str | None:
        """Return the value stored under a name, or None."""
        value: str | None = self._value("SELECT value FROM settings WHERE name = ?", name)
        return value

    def save_setting(self, name: str, value: str) -> None:
        """Store a value under a name."""
        self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def refusal(self, event_id: UUID) -> Refusal | None:
        """Return the refusal of the device's credential, for all events or for one; None if there is none."""
        for reason, name in ((UNAUTHENTICATED, _REFUSED), (FORBIDDEN, f"{_REFUSED}:{event_id}")):
            if text := self.setting(name):
                return Refusal(reason, text)
        # Versions before 0.2 also stored the errors of proxies here.
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

    def cursor(self, event_id: UUID) -> str:
        """Return the cursor of the replica; empty if there is no replica yet."""
        return self._value("SELECT cursor FROM copies WHERE event_id = ?", event_id.bytes) or ""

    def apply(self, event_id: UUID, messages: Iterable[pb.WatchAdmissionsResponse], now: datetime) -> None:
        """Apply changes to the replica in one transaction."""
        with self.transaction():
            for changes in messages:
                self._apply(event_id, changes, now)

    def _apply(self, event_id: UUID, changes: pb.WatchAdmissionsResponse, now: datetime) -> None:
        if changes.restart:
            self._run("DELETE FROM copies WHERE event_id = ?", event_id.bytes)
            self._run("DELETE FROM tickets WHERE event_id = ?", event_id.bytes)
        rules = changes.rules.SerializeToString() if changes.HasField("rules") else None
        self._run(
            "INSERT INTO copies VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET rules = coalesce(excluded.rules, rules), cursor = excluded.cursor",
            *(event_id.bytes, rules, changes.cursor),
        )
        for ticket in changes.tickets:
            row = (event_id.bytes, ticket.ticket_id, ticket.SerializeToString())
            self._run("INSERT OR REPLACE INTO tickets VALUES (?, ?, ?)", *row)
            self._drop_own_admission(event_id, ticket, now)

    def _drop_own_admission(self, event_id: UUID, ticket: pb.TicketAdmission, now: datetime) -> None:
        """Delete the device's own admission of a ticket if the received one is at least as new."""
        key = (event_id.bytes, ticket.ticket_id)
        query = "SELECT admission, change_time, settle_time FROM own WHERE event_id = ? AND ticket_id = ?"
        row = self._row(query, *key)
        if row is None:
            return
        message, change_time, recorded_time = row
        own, received = admission_of(pb.TicketAdmission.FromString(message)), admission_of(ticket)
        is_newer = received.latest_check_in is not None and _number(received.latest_check_in.time) > change_time
        is_recorded = recorded_time is not None and _number(now - IN_FLIGHT) > recorded_time
        if received == own or is_newer or is_recorded:
            self._run("DELETE FROM own WHERE event_id = ? AND ticket_id = ?", *key)

    def rules(self, event_id: UUID) -> EventRules | None:
        """Return an event's rules; None if the device has never received them."""
        message = self._value("SELECT rules FROM copies WHERE event_id = ?", event_id.bytes)
        return None if message is None else rules_of(event_id, pb.GateRules.FromString(message))

    def ticket(self, event_id: UUID, ticket_id: UUID) -> Ticket | None:
        """Return a ticket of the replica, or None."""
        key = (event_id.bytes, ticket_id.bytes)
        message = self._value("SELECT admission FROM tickets WHERE event_id = ? AND ticket_id = ?", *key)
        return None if message is None else ticket_of(event_id, pb.TicketAdmission.FromString(message))

    def add_token_ticket(self, event_id: UUID, ticket: pb.TicketAdmission) -> None:
        """Add a ticket that its token proves, so that older issues are denied; a change of the replica replaces it."""
        row = (event_id.bytes, ticket.ticket_id, ticket.SerializeToString())
        self._run("INSERT OR IGNORE INTO tickets VALUES (?, ?, ?)", *row)

    def ticket_count(self, event_id: UUID) -> int:
        """Count the tickets of the replica."""
        return int(self._value("SELECT count(*) FROM tickets WHERE event_id = ?", event_id.bytes))

    def own_admission(self, event_id: UUID, ticket_id: UUID) -> AdmissionState | None:
        """Return a ticket's admission state after the device's own scans; None if the replica is at least as new."""
        key = (event_id.bytes, ticket_id.bytes)
        message = self._value("SELECT admission FROM own WHERE event_id = ? AND ticket_id = ?", *key)
        return None if message is None else admission_of(pb.TicketAdmission.FromString(message))

    def has_unrecorded_admission(self, event_id: UUID, ticket_id: UUID) -> bool:
        """Return whether the service has not yet recorded the device's latest scan of a ticket."""
        query = "SELECT 1 FROM own WHERE event_id = ? AND ticket_id = ? AND settle_time IS NULL"
        return self._row(query, event_id.bytes, ticket_id.bytes) is not None

    def save_own_admission(self, own: OwnAdmission, recorded_time: datetime | None) -> None:
        """Store an admission state; `recorded_time` is None until the service has recorded the scan."""
        check_in = own.admission.latest_check_in
        message = pb.TicketAdmission(
            check_in=None if check_in is None else previous_message(check_in), inside=own.admission.inside
        )
        self._run(
            "INSERT OR REPLACE INTO own VALUES (?, ?, ?, ?, ?, ?)",
            *(own.event_id.bytes, own.ticket_id.bytes, message.SerializeToString(), own.scan_id),
            *(_number(own.change_time), None if recorded_time is None else _number(recorded_time)),
        )

    def begin_scan(self, scan_id: UUID, request: bytes, now: datetime) -> None:
        """Store a request before it is sent."""
        self._run("INSERT INTO asked VALUES (?, ?, ?, NULL)", str(scan_id), request, _number(now))

    def unfinished_scan(self, request: bytes, since: datetime) -> tuple[UUID, scan_pb2.Scan | None] | None:
        """Return the scan of an equal request whose answer was not shown, with the answer if there is one."""
        with self.transaction():
            self._run("DELETE FROM asked WHERE begin_time < ?", _number(since))
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

    def enqueue(self, attempt: pb.ScanAttempt) -> None:
        """Store a decision for delivery; it replaces an earlier one of the scan and goes to the end of the queue."""
        with self.transaction():
            self._run("DELETE FROM decisions WHERE scan_id = ?", attempt.scan_id)
            row = (attempt.scan_id, attempt.SerializeToString())
            self._run("INSERT INTO decisions (scan_id, attempt) VALUES (?, ?)", *row)

    def queued(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> Sequence[pb.ScanAttempt]:
        """Return up to `limit` of the oldest decisions of the queue, but for the scan ids `without`.

        All together have at most `max_bytes`, unless the first one alone has more.
        """
        result: list[pb.ScanAttempt] = []
        size = 0
        with self._lock:
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
                self._run("UPDATE own SET settle_time = ? WHERE scan_id = ?", _number(now), attempt.scan_id)

    def _run(self, statement: str, *values: object) -> None:
        with self._lock, self._noting_problems():
            self._database.execute(statement, values)
            if not self._database.in_transaction and self._database.total_changes != self._changes:
                self.problem, self._changes = "", self._database.total_changes

    def _row(self, query: str, *values: object) -> Any:
        with self._lock, self._noting_problems():
            return self._database.execute(query, values).fetchone()

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The lower byte of an extended error code is the error code.
            text = _PROBLEMS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "the device's file cannot be used")
            self.problem = f"{text} ({error})"
            raise

    def _value(self, query: str, *values: object) -> Any:
        row = self._row(query, *values)
        return None if row is None else row[0]


def _number(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND
