"""The device's SQLite file: its schema, its transactions, and its errors.

Every transaction, and every statement outside one, is on disk before its method returns (`synchronous=FULL`), so a
power cut loses no shown answer. One process owns the file; a second process gets the error that the file is locked.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

VERSION: Final = 4
CLOSE_SECONDS: Final = 5.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_REPLICAS: Final = (
    # A replica of an event, which is used once it is complete; its rules are GateRules as received. The service sent
    # the cursors; `page_cursor` is empty unless further pages follow. `loaded` counts the tickets received so far.
    (
        "CREATE TABLE replicas (replica_id INTEGER PRIMARY KEY, event_id BLOB NOT NULL, rules BLOB,"
        " cursor TEXT NOT NULL, page_cursor TEXT NOT NULL, complete INTEGER NOT NULL, loaded INTEGER NOT NULL,"
        " begin_time INTEGER NOT NULL, confirm_time INTEGER)"
    ),
    # The tickets of a replica: TicketAdmission as received.
    (
        "CREATE TABLE replica_tickets (replica_id INTEGER, ticket_id BLOB, admission BLOB NOT NULL,"
        " PRIMARY KEY (replica_id, ticket_id)) WITHOUT ROWID"
    ),
)
# The purchase of a GROUP ticket; NULL otherwise.
_GROUPS: Final = (
    "ALTER TABLE replica_tickets ADD COLUMN purchase_id BLOB",
    "CREATE INDEX replica_groups ON replica_tickets (replica_id, purchase_id) WHERE purchase_id IS NOT NULL",
)
# The scans shown as admitted, as uploads have them, which the service may ask for again: a ScanAttempt each.
_KEPT: Final = (
    (
        "CREATE TABLE kept (sequence INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, attempt BLOB NOT NULL,"
        " scan_time INTEGER NOT NULL)"
    ),
    "CREATE INDEX kept_time ON kept (scan_time)",
)
_SCHEMA: Final = (
    *_REPLICAS,
    *_GROUPS,
    *_KEPT,
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
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
    # Offline decisions that were not delivered yet: a ScanAttempt. Where the device did not know the time, `boot_id`
    # and `boot_time` are the time since that start of the machine.
    (
        "CREATE TABLE decisions (sequence INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, attempt BLOB NOT NULL,"
        " boot_id TEXT, boot_time INTEGER)"
    ),
)
_FROM_VERSION_1: Final = (
    *_REPLICAS,
    (
        "INSERT INTO replicas SELECT NULL, event_id, rules, cursor, '', 1, 0, 0, NULL FROM copies WHERE cursor != ''"
        " AND rules IS NOT NULL"
    ),
    (
        "INSERT INTO replica_tickets (replica_id, ticket_id, admission) SELECT replica_id, ticket_id, admission FROM tickets"
        " JOIN replicas ON replicas.event_id = tickets.event_id"
    ),
    "DROP TABLE copies",
    "DROP TABLE tickets",
    "ALTER TABLE decisions ADD COLUMN boot_id TEXT",
    "ALTER TABLE decisions ADD COLUMN boot_time INTEGER",
    *_GROUPS,
    *_KEPT,
)
# The statements that bring a file of each version to this one.
_UPGRADES: Final = {0: _SCHEMA, 1: _FROM_VERSION_1, 2: (*_GROUPS, *_KEPT), 3: _KEPT}

_DAMAGED: Final = "the device's file is damaged: keep it, and enroll the device again with another --data"
# The cause of an error for people, by SQLite's error code.
_PROBLEMS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: free space on it",
    sqlite3.SQLITE_READONLY: "the disk is read-only",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_BUSY: "another ticketing-gate uses the device's file",
}


class StoreError(Exception):
    """The file cannot be used; the message says why."""


class DeviceFile:
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
        except OSError as error:
            raise StoreError(f"{path}: the device's file cannot be written: {error.strerror}") from error
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        try:
            self._prepare()
        except (sqlite3.Error, StoreError) as error:
            self._database.close()
            raise StoreError(f"{path}: {self.problem or error}") from error

    def _prepare(self) -> None:
        # The process keeps the lock from the first access to its end, so SQLite needs no shared memory.
        self._run("PRAGMA locking_mode = EXCLUSIVE")
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")
        with self.transaction():
            version = self._value("PRAGMA user_version")
            if version != VERSION and version not in _UPGRADES:
                raise StoreError(f"the file is of version {version}, this program of {VERSION}")
            if version != VERSION:
                for statement in _UPGRADES[version]:
                    self._run(statement)
                self._run(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Close the file; leave it open where a thread still waits for a disk that hangs, because SQLite repairs it."""
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            try:
                self._database.close()
            finally:
                self._lock.release()

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

    def _run(self, statement: str, *values: object) -> int:
        """Run a statement; return the number of changed rows."""
        with self._lock, self._noting_problems():
            changed = self._database.execute(statement, values).rowcount
            if not self._database.in_transaction and self._database.total_changes != self._changes:
                self.problem, self._changes = "", self._database.total_changes
            return changed

    def _run_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run a statement for each row, in a transaction that has begun."""
        with self._lock, self._noting_problems():
            self._database.executemany(statement, rows)

    def _row(self, query: str, *values: object) -> Any:
        with self._lock, self._noting_problems():
            return self._database.execute(query, values).fetchone()

    def _value(self, query: str, *values: object) -> Any:
        row = self._row(query, *values)
        return None if row is None else row[0]

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock, self._noting_problems():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The lower byte of an extended error code is the error code.
            text = _PROBLEMS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "the device's file cannot be used")
            self.problem = f"{text} ({error})"
            raise


def microseconds(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def time_at(number: int) -> datetime:
    """Return the time of a number of microseconds since 1970."""
    return _EPOCH + number * _MICROSECOND
