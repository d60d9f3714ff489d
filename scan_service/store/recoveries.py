"""The statements of recoveries, and those that find out on which server the database stands.

A dump is restored into another database, and mostly on another server. A restore to a point in time and the promotion of
a replica begin another timeline. So each of them shows in what `_SERVER` reads, unless the files of the server were
replaced by older ones.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.recoveries import (
    KEPT,
    Cause,
    ListedDevice,
    NewIncident,
    RecoveredCheckIn,
    Recovery,
    RecoveryReport,
    Resend,
    SeenServer,
)
from scan_service.store.rows import event_of
from scan_service.store.tables import (
    devices,
    events,
    feed,
    incident_scans,
    incidents,
    recoveries,
    scans,
    tickets,
)
from scan_service.store.uploads import scan_row
from scan_service.store.write_ahead_log import LOG_COLUMNS, log_of
from ticketing.admission.scans import NO_FINGERPRINT, Scan
from ticketing.admission.tickets import AdmissionState, Event
from ticketing.chassis.ids import new_id

# The rows that one transaction changes: scans wait for them meanwhile.
BATCH: Final = 2_000

# The timeline of the last checkpoint may be older than that of the log, so the log's is read.
_SERVER: Final = sa.text(f"""
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
                     (SELECT oid FROM pg_database WHERE datname = current_database())) AS present,
           CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) AS next_transaction,
           {LOG_COLUMNS}
""")  # noqa: S608 - composed of constants
# The rows of a dump have the transactions of another server, which may be those of this server's future.
_REBASE: Final = sa.text("""
    UPDATE tickets t SET changed_by = 0
    FROM (
        SELECT event_id, ticket_id FROM tickets
        WHERE changed_by > CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
        ORDER BY ticket_id LIMIT :limit FOR UPDATE
    ) AS old
    WHERE t.event_id = old.event_id AND t.ticket_id = old.ticket_id
""")
_INSERT: Final = sa.text("INSERT INTO scans SELECT * FROM jsonb_populate_recordset(NULL::scans, CAST(:rows AS jsonb))")


def see_server(connection: Connection) -> SeenServer:
    """Read on which server the database stands, and lock the row that says where it was last seen."""
    last = connection.execute(sa.select(feed.c.server, feed.c.seen_time).with_for_update()).one()
    row = connection.execute(_SERVER).one()
    return SeenServer(row.present, row.next_transaction, last.server, last.seen_time, log_of(row))


def save_server(connection: Connection, seen: SeenServer, now: datetime) -> None:
    """Store where the database was seen at `now`."""
    connection.execute(feed.update().values(server=seen.present, seen_time=now))


def rebase_changes(connection: Connection) -> bool:
    """Move changes of a server before to the beginning, BATCH at a time; return whether more may be left."""
    return connection.execute(_REBASE, {"limit": BATCH}).rowcount == BATCH


def read_latest_time(connection: Connection) -> datetime | None:
    """Return the latest time at which the replica was complete or a scan was recorded; None in an empty database."""
    # The index of each event's scans begins with their record times.
    latest = sa.select(sa.func.max(scans.c.record_time)).where(scans.c.event_id == events.c.event_id).scalar_subquery()
    recorded = sa.select(sa.func.max(latest)).select_from(events).scalar_subquery()
    time: datetime | None = connection.execute(sa.select(sa.func.greatest(feed.c.whole_time, recorded))).scalar_one()
    return time


def lock_open(connection: Connection) -> Recovery | None:
    """Return the open recovery, and lock the row of the feed, so that one process at a time begins a recovery."""
    connection.execute(sa.select(feed.c.one).with_for_update())
    return read_open(connection)


def read_open(connection: Connection) -> Recovery | None:
    """Return the open recovery; None where there is none."""
    row = connection.execute(sa.select(recoveries).where(recoveries.c.close_time.is_(None))).first()
    return None if row is None else _recovery(row)


def read_resend(connection: Connection) -> Resend | None:
    """Return the request to gate devices; None where no recovery is open."""
    recovery = read_open(connection)
    return None if recovery is None else recovery.resend


def begin(
    connection: Connection, cause: Cause, since: datetime, now: datetime, *, keeps_changes: bool = False
) -> Recovery:
    """Begin a recovery in place of an open one, and of the same time as that one until every device has answered it.

    The changes that devices follow get another epoch, unless `keeps_changes`: then devices go on whose cursor has a place
    in the log of this server.
    """
    earlier = read_open(connection)
    if earlier is not None and not is_complete(connection, earlier):
        # A device that has not answered the earlier one is asked for everything.
        since = min(earlier.since_time, since)
    recovery = Recovery(new_id(), cause, since, now)
    connection.execute(recoveries.update().where(recoveries.c.close_time.is_(None)).values(close_time=now))
    connection.execute(
        recoveries.insert().values(recovery_id=recovery.recovery_id, cause=cause, since_time=since, begin_time=now)
    )
    if not keeps_changes:
        connection.execute(feed.update().values(changes_epoch=sa.func.gen_random_uuid()))
    return recovery


def forget_feed(connection: Connection) -> None:
    """Let the replica begin anew; tickets keep their revocations and admission states.

    The cursors stay until the first page of the new epoch: a restored ticket service compares its revisions with them.
    """
    connection.execute(feed.update().values(epoch="", whole_time=None))


def save_progress(  # noqa: PLR0913 - the columns, and keywords
    connection: Connection,
    recovery_id: UUID,
    *,
    after: tuple[UUID, UUID] | None = None,
    recovered: int = 0,
    annulled: int = 0,
    check_ins_time: datetime | None = None,
) -> None:
    """Store the progress with the check-ins; the numbers are added."""
    values: dict[str, Any] = {
        "recovered": recoveries.c.recovered + recovered,
        "annulled": recoveries.c.annulled + annulled,
        "check_ins_time": sa.func.coalesce(recoveries.c.check_ins_time, check_ins_time),
    }
    if after is not None:
        values |= {"after_event_id": after[0], "after_ticket_id": after[1]}
    connection.execute(recoveries.update().where(recoveries.c.recovery_id == recovery_id).values(**values))


def save_devices(connection: Connection, recovery_id: UUID, restored: int, revoked: int, now: datetime) -> None:
    """Store that all devices that the ticket service has were taken back; the numbers are added."""
    connection.execute(
        recoveries.update()
        .where(recoveries.c.recovery_id == recovery_id)
        .values(
            devices_time=now,
            restored_devices=recoveries.c.restored_devices + restored,
            revoked_devices=recoveries.c.revoked_devices + revoked,
        )
    )


def close(connection: Connection, recovery_id: UUID, now: datetime) -> None:
    """Ask devices no longer for their scans."""
    open_one = (recoveries.c.recovery_id == recovery_id, recoveries.c.close_time.is_(None))
    connection.execute(recoveries.update().where(*open_one).values(close_time=now))


def lock_event(connection: Connection, event_id: UUID) -> Event | None:
    """Lock an event as a batch of scans does, and return it; None for an unknown event."""
    query = sa.select(sa.func.to_jsonb(events.table_valued())).where(events.c.event_id == event_id)
    row = connection.execute(query.with_for_update(read=True)).scalar()
    return None if row is None else event_of(row)


def read_admissions(connection: Connection, event_id: UUID, ticket_ids: Collection[UUID]) -> dict[UUID, AdmissionState]:
    """Return the check-in time and the sequence of those tickets that the database has, without a lock."""
    query = sa.select(tickets.c.ticket_id, tickets.c.check_in_time, tickets.c.sequence)
    query = query.where(tickets.c.event_id == event_id, tickets.c.ticket_id.in_(ticket_ids))
    return {
        row.ticket_id: AdmissionState(check_in_time=row.check_in_time, sequence=row.sequence)
        for row in connection.execute(query)
    }


def insert_scans(connection: Connection, recovered: Sequence[Scan]) -> None:
    """Insert the records of recovered check-ins."""
    if recovered:
        connection.execute(_INSERT, {"rows": json.dumps([scan_row(scan) for scan in recovered])})


def mark_resent(connection: Connection, device_ids: Collection[UUID], recovery_id: UUID) -> frozenset[UUID]:
    """Record that devices have sent their scans again; return them without those that another session has locked."""
    query = sa.select(devices.c.device_id).where(devices.c.device_id.in_(device_ids)).order_by(devices.c.device_id)
    locked = frozenset(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    known = frozenset(connection.execute(query).scalars())
    changed = devices.c.resent_recovery_id.is_distinct_from(recovery_id)
    statement = devices.update().where(devices.c.device_id.in_(locked), changed)
    connection.execute(statement.values(resent_recovery_id=recovery_id))
    # A device that does not exist any more is not tried again.
    return frozenset(device_ids) - (known - locked)


def is_pending(recovery_id: UUID, since: datetime) -> sa.ColumnElement[bool]:
    """Select the devices that may have lost scans to send, and have not reported that they have sent them."""
    return sa.and_(
        devices.c.enroll_time.is_not(None),
        devices.c.revoke_time.is_(None),
        devices.c.last_seen_time > since - KEPT,
        devices.c.resent_recovery_id.is_distinct_from(recovery_id),
    )


def _is_active(begin: datetime) -> sa.ColumnElement[bool]:
    """Select the devices that may have been revoked in the lost time, without a trace here."""
    return sa.and_(devices.c.enroll_time < begin, devices.c.revoke_time.is_(None))


def count_pending(connection: Connection, recovery: Recovery) -> int:
    """Count the devices that have not sent their scans again."""
    query = sa.select(sa.func.count()).select_from(devices)
    return connection.execute(query.where(is_pending(recovery.recovery_id, recovery.since_time))).scalar_one()


def is_complete(connection: Connection, recovery: Recovery) -> bool:
    """Return whether the ticket service and every known device have answered."""
    return recovery.has_answers_of_peer and count_pending(connection, recovery) == 0


def read_report(connection: Connection, recovery: Recovery) -> RecoveryReport:
    """Read the progress of a recovery, in one snapshot: the transaction must be REPEATABLE READ."""
    return RecoveryReport(
        recovery=read_open(connection) or recovery,
        recovered=_read_recovered(connection, recovery),
        resent=_count_resent(connection, recovery),
        pending=_read_devices(connection, is_pending(recovery.recovery_id, recovery.since_time)),
        active=_read_devices(connection, _is_active(recovery.begin_time)),
        incidents=_read_incidents(connection, recovery),
    )


def _read_devices(connection: Connection, condition: sa.ColumnElement[bool]) -> Sequence[ListedDevice]:
    columns = (devices.c.device_id, devices.c.organizer_id, devices.c.name, devices.c.gate_location)
    query = sa.select(*columns, devices.c.last_seen_time).where(condition).order_by(devices.c.device_id)
    return [ListedDevice(*row) for row in connection.execute(query)]


def _read_recovered(connection: Connection, recovery: Recovery) -> Sequence[RecoveredCheckIn]:
    """Return the recovered check-ins whose own scans no gate has sent, by event."""
    query = sa.select(scans.c.event_id, scans.c.ticket_id, scans.c.scan_time)
    query = _recorded_since(query, recovery.begin_time).where(scans.c.fingerprint == NO_FINGERPRINT)
    return [RecoveredCheckIn(*row) for row in connection.execute(query)]


def _count_resent(connection: Connection, recovery: Recovery) -> int:
    """Count the scans of the lost time that gates have uploaded since the beginning of the recovery."""
    query = _recorded_since(sa.select(scans.c.scan_id), recovery.begin_time).where(
        scans.c.fingerprint != NO_FINGERPRINT,
        scans.c.offline,
        scans.c.scan_time.between(recovery.since_time, recovery.begin_time),
    )
    return connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()


def _read_incidents(connection: Connection, recovery: Recovery) -> Sequence[NewIncident]:
    """Return the incidents with scans since the beginning of the recovery."""
    columns = (incidents.c.event_id, incidents.c.kind, incidents.c.ticket_id, incidents.c.incident_id)
    link = incident_scans.c
    has_scans = sa.exists().where(
        link.event_id == incidents.c.event_id, link.kind == incidents.c.kind, link.subject == incidents.c.subject
    )
    query = sa.select(*columns).where(incidents.c.create_time >= recovery.begin_time, has_scans)
    query = query.order_by(incidents.c.event_id, incidents.c.incident_id)
    return [NewIncident(*row) for row in connection.execute(query)]


def _recorded_since(query: sa.Select[Any], time: datetime) -> sa.Select[Any]:
    # The index of scans leads with the event.
    recent = events.join(scans, sa.and_(scans.c.event_id == events.c.event_id, scans.c.record_time >= time))
    return query.select_from(recent).order_by(scans.c.event_id, scans.c.record_time, scans.c.scan_id)


def _recovery(row: Any) -> Recovery:
    return Recovery(
        recovery_id=row.recovery_id,
        cause=Cause(row.cause),
        since_time=row.since_time,
        begin_time=row.begin_time,
        after=None if row.after_event_id is None else (row.after_event_id, row.after_ticket_id),
        check_ins_time=row.check_ins_time,
        devices_time=row.devices_time,
        recovered=row.recovered,
        annulled=row.annulled,
        restored_devices=row.restored_devices,
        revoked_devices=row.revoked_devices,
        close_time=row.close_time,
    )
