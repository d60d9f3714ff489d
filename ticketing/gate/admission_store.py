"""The admissions that the device's file contains: the replicas of events, and the device's own scans.

A replica that starts anew is loaded beside the old one, in short transactions, over as many streams as it takes. It
replaces the old one once it is complete.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from time import sleep
from typing import Final
from uuid import UUID

from ticketing.admission.tickets import AdmissionState, Ticket
from ticketing.gate.device_file import DeviceFile, microseconds, time_at
from ticketing.gate.messages import EventRules, admission_of, previous_message, rules_of, ticket_of
from ticketing.scans.v1 import scan_service_pb2 as pb

# A change that arrives this soon after the record of the device's scan may have been sent before that record.
IN_FLIGHT: Final = timedelta(seconds=10)
# The tickets of one transaction, which takes about as long as the sync of the disk: a scan waits for one transaction.
PIECE: Final = 200
# The pause between two transactions: a lock goes to whoever asks first, and the replica's thread asks at once.
_PAUSE_SECONDS: Final = 0.001
# The longest wait of the replica for a scan: a gate with a scan all the time still loads its replica.
_SCAN_SECONDS: Final = 0.25
# The replica of another event is deleted this long after the end of the event.
KEPT_AFTER_END: Final = timedelta(days=3)
# A replica that was deleted and has tickets left. SQLite finds each next id in the index; DISTINCT would read all rows.
_ORPHAN: Final = (
    "WITH RECURSIVE ids(id) AS (SELECT min(replica_id) FROM replica_tickets UNION ALL"
    " SELECT (SELECT min(replica_id) FROM replica_tickets WHERE replica_id > id) FROM ids WHERE id IS NOT NULL)"
    " SELECT id FROM ids WHERE id IS NOT NULL AND id NOT IN (SELECT replica_id FROM replicas) LIMIT 1"
)
_CURRENT: Final = "(SELECT max(replica_id) FROM replicas WHERE event_id = ? AND complete)"


@dataclass(frozen=True, slots=True)
class OwnAdmission:
    """The admission state of a ticket after a scan of this device."""

    event_id: UUID
    ticket_id: UUID
    admission: AdmissionState
    # The scan, and its time by the service's clock.
    scan_id: str
    change_time: datetime


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """The replica of one event, for the display."""

    # Whether the device can decide offline.
    is_complete: bool = False
    # The tickets received so far of a replica that is being loaded.
    loaded: int = 0
    # The last time at which the service confirmed that the replica has all changes; None: not since an older version.
    confirm_time: datetime | None = None


class AdmissionStore(DeviceFile):
    """The replicas and the device's own admissions."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._no_scan = Event()
        self._no_scan.set()

    def cursor(self, event_id: UUID) -> str:
        """Return the position after which the stream continues; empty for the beginning."""
        query = "SELECT page_cursor, cursor FROM replicas WHERE event_id = ? ORDER BY replica_id DESC LIMIT 1"
        page_cursor, cursor = self._row(query, event_id.bytes) or ("", "")
        return str(page_cursor or cursor)

    def discard_unresumable_replica(self, event_id: UUID) -> None:
        """Delete a replica without a position to continue at: an older service sends none between its messages."""
        self._run("DELETE FROM replicas WHERE event_id = ? AND NOT complete AND page_cursor = ''", event_id.bytes)

    def replica_state(self, event_id: UUID) -> ReplicaState:
        """Return the state of an event's replica."""
        query = "SELECT complete, loaded, confirm_time FROM replicas WHERE event_id = ? ORDER BY replica_id"
        states = self._rows(query, event_id.bytes)
        times = [time for complete, _, time in states if complete and time is not None]
        return ReplicaState(
            is_complete=any(complete for complete, _, _ in states),
            loaded=sum(loaded for complete, loaded, _ in states if not complete),
            confirm_time=time_at(times[-1]) if times else None,
        )

    def apply(self, event_id: UUID, changes: pb.WatchAdmissionsResponse, now: datetime) -> None:
        """Apply one response of the replica's stream, in short transactions; an interruption repeats it."""
        if changes.restart:
            self._begin_replica(event_id, now)
        query = "SELECT replica_id, complete FROM replicas WHERE event_id = ? ORDER BY replica_id DESC LIMIT 1"
        replica_id, is_complete = self._row(query, event_id.bytes) or (self._begin_replica(event_id, now), False)
        for begin in range(0, len(changes.tickets), PIECE):
            piece = changes.tickets[begin : begin + PIECE]
            rows = [(replica_id, *_ticket_row(ticket)) for ticket in piece]
            self._let_scans_pass()
            with self.transaction():
                self._run_many("INSERT OR REPLACE INTO replica_tickets VALUES (?, ?, ?, ?)", rows)
                self._run("UPDATE replicas SET loaded = loaded + ? WHERE replica_id = ?", len(rows), replica_id)
                if is_complete and self._row("SELECT 1 FROM own WHERE event_id = ? LIMIT 1", event_id.bytes):
                    for ticket in piece:
                        self._drop_own_admission(event_id, ticket, now)
        with self.transaction():
            self._save_position(replica_id, changes, now)
            if changes.cursor and not is_complete:
                self._complete(event_id, replica_id)
        if changes.cursor:
            self._delete_old_replicas(event_id)

    def delete_past_events(self, event_id: UUID, now: datetime) -> None:
        """Delete the replicas and own admissions of other events that ended long ago; keep what is not delivered."""
        before = now - KEPT_AFTER_END
        for (other,) in self._rows("SELECT DISTINCT event_id FROM replicas WHERE event_id != ?", event_id.bytes):
            if self._row("SELECT 1 FROM own WHERE event_id = ? AND settle_time IS NULL", other):
                continue
            rules = self.rules(UUID(bytes=other))
            # Without a time of its end, an event counts as past once the device has not followed it for as long.
            used = self._value("SELECT max(ifnull(confirm_time, begin_time)) FROM replicas WHERE event_id = ?", other)
            if ((rules and rules.event.valid_until_time) or time_at(used)) < before:
                with self.transaction():
                    self._run("DELETE FROM own WHERE event_id = ?", other)
                    self._run("DELETE FROM replicas WHERE event_id = ?", other)
                self._delete_orphans()

    @contextmanager
    def scan_in_progress(self) -> Iterator[None]:
        """Let a replica that is being loaded wait while a scan is answered: a scan has several transactions."""
        self._no_scan.clear()
        try:
            yield
        finally:
            self._no_scan.set()

    def _let_scans_pass(self) -> None:
        sleep(_PAUSE_SECONDS)
        self._no_scan.wait(_SCAN_SECONDS)

    def _begin_replica(self, event_id: UUID, now: datetime) -> int:
        with self.transaction():
            self._run("DELETE FROM replicas WHERE event_id = ? AND NOT complete", event_id.bytes)
            # Ids are not reused while tickets of a deleted replica may be left.
            replica_id = 1 + max(
                self._value("SELECT ifnull(max(replica_id), 0) FROM replicas"),
                self._value("SELECT ifnull(max(replica_id), 0) FROM replica_tickets"),
            )
            self._run(
                "INSERT INTO replicas VALUES (?, ?, NULL, '', '', 0, 0, ?, NULL)",
                *(replica_id, event_id.bytes, microseconds(now)),
            )
        return int(replica_id)

    def _save_position(self, replica_id: int, changes: pb.WatchAdmissionsResponse, now: datetime) -> None:
        rules = changes.rules.SerializeToString() if changes.HasField("rules") else None
        self._run(
            "UPDATE replicas SET rules = coalesce(?, rules), page_cursor = ? WHERE replica_id = ?",
            *(rules, changes.page_cursor, replica_id),
        )
        if changes.cursor:
            self._run(
                "UPDATE replicas SET cursor = ?, confirm_time = ? WHERE replica_id = ?",
                *(changes.cursor, microseconds(now), replica_id),
            )

    def _complete(self, event_id: UUID, replica_id: int) -> None:
        """Use a replica from now on, and drop the own admissions that it contains."""
        self._run("UPDATE replicas SET complete = 1 WHERE replica_id = ?", replica_id)
        begin_time = time_at(self._value("SELECT begin_time FROM replicas WHERE replica_id = ?", replica_id))
        query = (
            "SELECT admission FROM replica_tickets WHERE replica_id = ? AND ticket_id IN"
            " (SELECT ticket_id FROM own WHERE event_id = ?)"
        )
        for (message,) in self._rows(query, replica_id, event_id.bytes):
            # A ticket may have been sent at any time since the beginning.
            self._drop_own_admission(event_id, pb.TicketAdmission.FromString(message), begin_time)

    def _delete_old_replicas(self, event_id: UUID) -> None:
        """Delete the replicas that are not used any more, and what is left of them, in short transactions."""
        self._run(
            f"DELETE FROM replicas WHERE event_id = ? AND complete AND replica_id < {_CURRENT}",  # noqa: S608 - a constant
            *(event_id.bytes, event_id.bytes),
        )
        self._delete_orphans()

    def _delete_orphans(self) -> None:
        """Delete the tickets of deleted replicas."""
        while (replica_id := self._value(_ORPHAN)) is not None:
            self._let_scans_pass()
            self._run(
                "DELETE FROM replica_tickets WHERE replica_id = ? AND ticket_id IN"
                " (SELECT ticket_id FROM replica_tickets WHERE replica_id = ? LIMIT ?)",
                *(replica_id, replica_id, PIECE),
            )

    def _drop_own_admission(self, event_id: UUID, ticket: pb.TicketAdmission, now: datetime) -> None:
        """Delete the device's own admission of a ticket if the received one is at least as new."""
        key = (event_id.bytes, ticket.ticket_id)
        query = "SELECT admission, scan_id, change_time, settle_time FROM own WHERE event_id = ? AND ticket_id = ?"
        row = self._row(query, *key)
        if row is None:
            return
        message, scan_id, change_time, recorded_time = row
        own, received = admission_of(pb.TicketAdmission.FromString(message)), admission_of(ticket)
        latest, before = received.latest_check_in, own.latest_check_in
        # The service dates a scan that arrived after the device's patience later than the device, which annulled it.
        is_annulled_here = (
            latest is not None
            and str(latest.scan_id) == scan_id
            and (before is None or before.scan_id != latest.scan_id)
        )
        is_newer = latest is not None and not is_annulled_here and microseconds(latest.time) > change_time
        is_recorded = recorded_time is not None and microseconds(now - IN_FLIGHT) > recorded_time
        if received == own or is_newer or is_recorded:
            self._run("DELETE FROM own WHERE event_id = ? AND ticket_id = ?", *key)

    def rules(self, event_id: UUID) -> EventRules | None:
        """Return an event's rules; None if the device has no complete replica."""
        message = self._value(f"SELECT rules FROM replicas WHERE replica_id = {_CURRENT}", event_id.bytes)  # noqa: S608 - a constant
        return None if message is None else rules_of(event_id, pb.GateRules.FromString(message))

    def ticket(self, event_id: UUID, ticket_id: UUID) -> Ticket | None:
        """Return a ticket of the replica, or None."""
        query = f"SELECT admission FROM replica_tickets WHERE replica_id = {_CURRENT} AND ticket_id = ?"  # noqa: S608 - a constant
        message = self._value(query, event_id.bytes, ticket_id.bytes)
        return None if message is None else ticket_of(event_id, pb.TicketAdmission.FromString(message))

    def group(self, event_id: UUID, purchase_id: UUID) -> Sequence[Ticket]:
        """Return the GROUP tickets of a purchase, as the replica and the device's own scans have them."""
        query = f"SELECT admission FROM replica_tickets WHERE replica_id = {_CURRENT} AND purchase_id = ?"  # noqa: S608 - a constant
        rows = self._rows(query, event_id.bytes, purchase_id.bytes)
        tickets = [ticket_of(event_id, pb.TicketAdmission.FromString(message)) for (message,) in rows]
        return [
            replace(ticket, admission=self.own_admission(event_id, ticket.ticket_id) or ticket.admission)
            for ticket in tickets
        ]

    def add_token_ticket(self, event_id: UUID, ticket: pb.TicketAdmission) -> None:
        """Add a ticket that its token proves, so that older issues are denied; a change of the replica replaces it."""
        query = "INSERT OR IGNORE INTO replica_tickets SELECT replica_id, ?, ?, ? FROM replicas WHERE event_id = ?"
        self._run(query, *_ticket_row(ticket), event_id.bytes)

    def ticket_count(self, event_id: UUID) -> int:
        """Count the tickets of the replica."""
        query = f"SELECT count(*) FROM replica_tickets WHERE replica_id = {_CURRENT}"  # noqa: S608 - a constant
        return int(self._value(query, event_id.bytes))

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
            *(microseconds(own.change_time), None if recorded_time is None else microseconds(recorded_time)),
        )


def _ticket_row(ticket: pb.TicketAdmission) -> tuple[bytes, bytes, bytes | None]:
    return ticket.ticket_id, ticket.SerializeToString(), ticket.purchase_id or None
