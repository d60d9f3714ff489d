"""What a device keeps, in one SQLite file: its copy of the event, its own admissions, and what it has still to deliver.

Every transaction is on disk before its method returns (`synchronous=FULL`), so what was shown to a person is known
after a power cut. One process owns the file; a second one is told that it is locked.
"""

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ticketing.admission.tickets import Admission, Ticket
from ticketing.gate.messages import Rules, admission_of, previous_message, rules_of, ticket_of
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

VERSION: Final = 1
# A change of a ticket that comes so soon after our own scan of it was recorded may have been on its way before.
IN_FLIGHT: Final = timedelta(seconds=10)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_SCHEMA: Final = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # GateRules and TicketAdmission, as they came.
    "CREATE TABLE copies (event_id BLOB PRIMARY KEY, rules BLOB, cursor TEXT NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE tickets (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL, PRIMARY KEY (event_id, ticket_id))"
        " WITHOUT ROWID"
    ),
    # How a ticket stands after our own scans, until the copy tells the same: a TicketAdmission.
    (
        "CREATE TABLE own (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL, scan_id TEXT NOT NULL,"
        " change_time INTEGER NOT NULL, settle_time INTEGER, PRIMARY KEY (event_id, ticket_id)) WITHOUT ROWID"
    ),
    "CREATE INDEX own_scan ON own (scan_id)",
    # Scans that nobody has been shown an answer to; `answer` is a Scan, once there is one.
    (
        "CREATE TABLE asked (scan_id TEXT PRIMARY KEY, question BLOB NOT NULL, begin_time INTEGER NOT NULL, answer BLOB)"
        " WITHOUT ROWID"
    ),
    # Decided alone and not delivered: a ScanAttempt.
    "CREATE TABLE decisions (sequence INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, attempt BLOB NOT NULL)",
)


class StoreError(Exception):
    """The file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Own:
    """How a ticket stands after a scan of ours."""

    event_id: UUID
    ticket_id: UUID
    admission: Admission
    # The scan that made it so, and when it was, by the service's clock; all other times here are the device's.
    scan_id: str
    change_time: datetime


class Store:
    """A device's file; usable from several threads.

    Args:
        path: made if it is not there.

    Raises:
        StoreError: it is no file of ours, or another process has it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            # It holds the device's credential.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise StoreError(f"{path}: {error}") from error
        except StoreError:
            self._database.close()
            raise

    def _prepare(self) -> None:
        # Held from the first access to the end of the process; no shared memory is needed then.
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
        """Let go of the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold everything still; all or nothing, on disk at the end."""
        with self._lock:
            if self._database.in_transaction:
                yield
                return
            self._run("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._run("ROLLBACK")
                raise
            self._run("COMMIT")

    def setting(self, name: str) -> str | None:
        """Return what was kept under a name."""
        value: str | None = self._value("SELECT value FROM settings WHERE name = ?", name)
        return value

    def keep_setting(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self.transaction():
            self._run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    # The copy.

    def cursor(self, event_id: UUID) -> str:
        """Return how far the copy has come; empty at the beginning."""
        return self._value("SELECT cursor FROM copies WHERE event_id = ?", event_id.bytes) or ""

    def apply(self, event_id: UUID, messages: Iterable[pb.WatchAdmissionsResponse], now: datetime) -> None:
        """Take over changes, all or none of them."""
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
            self._let_go(event_id, ticket, now)

    def _let_go(self, event_id: UUID, ticket: pb.TicketAdmission, now: datetime) -> None:
        """Forget our own view of a ticket where the copy's is at least as new."""
        key = (event_id.bytes, ticket.ticket_id)
        query = "SELECT admission, change_time, settle_time FROM own WHERE event_id = ? AND ticket_id = ?"
        row = self._row(query, *key)
        if row is None:
            return
        message, changed, settled = row
        own, told = admission_of(pb.TicketAdmission.FromString(message)), admission_of(ticket)
        newer = told.latest_check_in is not None and _number(told.latest_check_in.time) > changed
        if told == own or newer or (settled is not None and _number(now - IN_FLIGHT) > settled):
            self._run("DELETE FROM own WHERE event_id = ? AND ticket_id = ?", *key)

    def rules(self, event_id: UUID) -> Rules | None:
        """Return an event's rules; None where they have never come."""
        message = self._value("SELECT rules FROM copies WHERE event_id = ?", event_id.bytes)
        return None if message is None else rules_of(event_id, pb.GateRules.FromString(message))

    def ticket(self, event_id: UUID, ticket_id: UUID) -> Ticket | None:
        """Return a ticket as the copy has it."""
        key = (event_id.bytes, ticket_id.bytes)
        message = self._value("SELECT admission FROM tickets WHERE event_id = ? AND ticket_id = ?", *key)
        return None if message is None else ticket_of(event_id, pb.TicketAdmission.FromString(message))

    def add_proven(self, event_id: UUID, ticket: pb.TicketAdmission) -> None:
        """Add a ticket that its token has proven, until the copy brings it: older issues of it are known then."""
        row = (event_id.bytes, ticket.ticket_id, ticket.SerializeToString())
        with self.transaction():
            self._run("INSERT OR IGNORE INTO tickets VALUES (?, ?, ?)", *row)

    def ticket_count(self, event_id: UUID) -> int:
        """Count the tickets of the copy."""
        count: int = self._value("SELECT count(*) FROM tickets WHERE event_id = ?", event_id.bytes)
        return count

    # Our own admissions.

    def own(self, event_id: UUID, ticket_id: UUID) -> Admission | None:
        """Return how a ticket stands after our own scans; None where the copy knows as much."""
        key = (event_id.bytes, ticket_id.bytes)
        message = self._value("SELECT admission FROM own WHERE event_id = ? AND ticket_id = ?", *key)
        return None if message is None else admission_of(pb.TicketAdmission.FromString(message))

    def is_unsettled(self, event_id: UUID, ticket_id: UUID) -> bool:
        """Tell whether a ticket stands as it does after a scan of ours that the service does not know of."""
        query = "SELECT 1 FROM own WHERE event_id = ? AND ticket_id = ? AND settle_time IS NULL"
        return self._row(query, event_id.bytes, ticket_id.bytes) is not None

    def keep_own(self, own: Own, settled: datetime | None) -> None:
        """Keep how a ticket stands after a scan of ours; `settled` says when the service had recorded it."""
        entry = own.admission.latest_check_in
        message = pb.TicketAdmission(
            check_in=None if entry is None else previous_message(entry), inside=own.admission.inside
        )
        with self.transaction():
            self._run(
                "INSERT OR REPLACE INTO own VALUES (?, ?, ?, ?, ?, ?)",
                *(own.event_id.bytes, own.ticket_id.bytes, message.SerializeToString(), own.scan_id),
                *(_number(own.change_time), None if settled is None else _number(settled)),
            )

    # From the question to the person.

    def begin(self, scan_id: UUID, question: bytes, now: datetime) -> None:
        """Note that a scan is asked."""
        with self.transaction():
            self._run("INSERT INTO asked VALUES (?, ?, ?, NULL)", str(scan_id), question, _number(now))

    def unfinished(self, question: bytes, since: datetime) -> tuple[UUID, scan_pb2.Scan | None] | None:
        """Return a scan of the same question that nobody was shown an answer to, with the answer if there is one."""
        with self.transaction():
            self._run("DELETE FROM asked WHERE begin_time < ?", _number(since))
            row = self._row("SELECT scan_id, answer FROM asked WHERE question = ?", question)
        if row is None:
            return None
        return UUID(row[0]), None if row[1] is None else scan_pb2.Scan.FromString(row[1])

    def answered(self, scan: scan_pb2.Scan) -> None:
        """Note the answer, before it is shown."""
        with self.transaction():
            self._run("UPDATE asked SET answer = ? WHERE scan_id = ?", scan.SerializeToString(), scan.scan_id)

    def shown(self, scan_id: str) -> None:
        """Note that a person was shown the answer."""
        with self.transaction():
            self._run("DELETE FROM asked WHERE scan_id = ?", scan_id)

    # The queue.

    def enqueue(self, attempt: pb.ScanAttempt) -> None:
        """Keep a decision until it is delivered; one of the same scan is replaced and goes to the end."""
        with self.transaction():
            self._run("DELETE FROM decisions WHERE scan_id = ?", attempt.scan_id)
            row = (attempt.scan_id, attempt.SerializeToString())
            self._run("INSERT INTO decisions (scan_id, attempt) VALUES (?, ?)", *row)

    def queued(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> Sequence[pb.ScanAttempt]:
        """Return the oldest decisions that are not delivered, at least one if there is any."""
        result: list[pb.ScanAttempt] = []
        size = 0
        with self._lock:
            for scan_id, attempt in self._database.execute("SELECT scan_id, attempt FROM decisions ORDER BY sequence"):
                size += len(attempt)
                if len(result) == limit or (result and size > max_bytes):
                    break
                if scan_id not in without:
                    result.append(pb.ScanAttempt.FromString(attempt))
        return result

    def queue_length(self) -> int:
        """Count the decisions that are not delivered."""
        count: int = self._value("SELECT count(*) FROM decisions")
        return count

    def is_queued(self, scan_id: str) -> bool:
        """Tell whether a decision waits to be delivered."""
        return self._row("SELECT 1 FROM decisions WHERE scan_id = ?", scan_id) is not None

    def delivered(self, attempts: Collection[pb.ScanAttempt], now: datetime) -> None:
        """Forget decisions that the service has recorded, but those that have changed since they were sent."""
        with self.transaction():
            for attempt in attempts:
                row = (attempt.scan_id, attempt.SerializeToString())
                self._run("DELETE FROM decisions WHERE scan_id = ? AND attempt = ?", *row)
                self._run("UPDATE own SET settle_time = ? WHERE scan_id = ?", _number(now), attempt.scan_id)

    def _run(self, statement: str, *values: object) -> None:
        with self._lock:
            self._database.execute(statement, values)

    def _row(self, query: str, *values: object) -> Any:
        with self._lock:
            return self._database.execute(query, values).fetchone()

    def _value(self, query: str, *values: object) -> Any:
        row = self._row(query, *values)
        return None if row is None else row[0]


def _number(time: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND
