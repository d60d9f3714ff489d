"""Recoveries: the work after a restore of the scans database, or a failover to a replica that lacked commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from scan_service.domain.write_ahead_log import ServerLog

# Gate devices keep what they have shown for this time, so they are asked for it as long.
KEPT: Final = timedelta(days=7)
# The clocks of gates and of the servers before and after the restore may differ by this time.
MARGIN: Final = timedelta(minutes=1)


class Cause(StrEnum):
    """The evidence that commits are lost."""

    # A person says so.
    OPERATOR = "OPERATOR"
    # The database stands on another server or timeline, or is another database, than when it was last seen.
    SERVER = "SERVER"
    # The next transaction has a lower id than an earlier one.
    TRANSACTIONS = "TRANSACTIONS"


@dataclass(frozen=True, slots=True)
class Resend:
    """The request to gate devices to send again what they have shown since a time."""

    recovery_id: UUID
    since_time: datetime


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery and its progress."""

    recovery_id: UUID
    cause: Cause
    # Commits after this time may be lost.
    since_time: datetime
    begin_time: datetime
    # The event and the ticket of the last check-in of the ticket service that was taken back; None: none so far.
    after: tuple[UUID, UUID] | None = None
    # The time at which all of them were taken back; None: not yet.
    check_ins_time: datetime | None = None
    # The time at which the devices that the ticket service has were taken back; None: not yet.
    devices_time: datetime | None = None
    # The numbers of check-ins that were taken back and that were annulled.
    recovered: int = 0
    annulled: int = 0
    # The numbers of devices whose enrollment and whose revocation was taken back.
    restored_devices: int = 0
    revoked_devices: int = 0
    # None: devices are still asked for their scans.
    close_time: datetime | None = None

    @property
    def resend(self) -> Resend:
        """Return the request to the devices."""
        return Resend(self.recovery_id, self.since_time - MARGIN)

    @property
    def has_answers_of_peer(self) -> bool:
        """Return whether everything that the ticket service has was taken back."""
        return self.check_ins_time is not None and self.devices_time is not None

    def covers(self, since: datetime | None) -> bool:
        """Return whether this recovery asks for everything that a restore to a moment has lost; None: to any moment.

        A later moment than `since_time` is covered too. A database that was restored to a moment after `begin_time`
        has this recovery in it, and its gates may have answered before: it needs another recovery.
        """
        return since is None or self.since_time <= since <= self.begin_time

    def is_over(self, now: datetime) -> bool:
        """Return whether no device keeps a scan for which it could be asked."""
        return now - self.begin_time > KEPT


@dataclass(frozen=True, slots=True)
class SeenServer:
    """The server on which a database stands, and where it was last seen."""

    # The system identifier of the server, its timeline, and the id of the database.
    present: str
    # The id of the next transaction.
    next_transaction: int
    # None: the database was not seen before.
    last: str | None
    last_time: datetime | None
    log: ServerLog

    @property
    def is_promoted(self) -> bool:
        """Return whether a standby of the last server was promoted, once, so that its log shows what it has."""
        system, timeline, database = self.present.split("/")
        before = f"{system}/{int(timeline, 16) - 1:08X}/{database}"
        return self.last == before and self.log.promoted_at is not None


def find_lost_commits(seen: SeenServer, next_before: int) -> Cause | None:
    """Return the evidence that commits are lost; None where there is none.

    `next_before` is the id of the next transaction when this process last asked on the same server.
    """
    if seen.last is None:
        return None
    if seen.last != seen.present:
        return Cause.SERVER
    return Cause.TRANSACTIONS if seen.next_transaction < next_before else None


@dataclass(frozen=True, slots=True)
class ReportedDevice:
    """A gate device as the ticket service keeps it."""

    device_id: UUID
    # The time when the device was last created, enrolled or revoked.
    update_time: datetime
    # The row of the device as JSON, without its presence and gate.
    state: str


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A gate device in the report of a recovery."""

    device_id: UUID
    organizer_id: str
    name: str
    # None: the device has opened no gate before the restored moment.
    location: str | None
    last_seen_time: datetime


@dataclass(frozen=True, slots=True)
class RecoveredCheckIn:
    """A check-in of which only the report to the ticket service is left."""

    event_id: UUID
    ticket_id: UUID
    check_in_time: datetime


@dataclass(frozen=True, slots=True)
class NewIncident:
    """An incident that was found since the beginning of a recovery."""

    event_id: UUID
    kind: str
    ticket_id: UUID | None
    incident_id: UUID


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """The progress of a recovery, and what is missing."""

    recovery: Recovery
    # The check-ins taken back whose own scans no gate has sent.
    recovered: Sequence[RecoveredCheckIn]
    # The number of scans of the lost time that gates have sent again.
    resent: int
    # The devices that have not sent their scans again.
    pending: Sequence[ListedDevice]
    # The devices of the time before the recovery that are not revoked. A revocation that the ticket service did not
    # have leaves no trace, so nobody vouches for them.
    active: Sequence[ListedDevice]
    incidents: Sequence[NewIncident]

    @property
    def is_complete(self) -> bool:
        """Return whether the ticket service and every known device have answered."""
        return self.recovery.has_answers_of_peer and not self.pending
