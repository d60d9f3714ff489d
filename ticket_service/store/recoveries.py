"""Statements on recoveries and what they found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL, Connection

from ticket_service.domain.recovery import Cause, Finding, FindingKind, Recovery
from ticket_service.store.tables import feed, recoveries, recovery_findings
from ticketing.chassis.connections import open_engine

# The advisory lock of the one `recover` command that runs.
_LOCK: Final = 5_872_310_411
# Sessions of services and relays, by the names of their pools; commands are named "command", "audit" and so on.
_SESSIONS: Final = sa.text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'ticket_service %'
      AND application_name NOT LIKE 'ticket_service recover%' AND application_name NOT LIKE 'ticket_service command%'
      AND application_name NOT LIKE 'ticket_service audit%'
""")
_CHANGING: Final = sa.text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND xact_start < :before
      AND application_name NOT LIKE 'ticket_service recover%'
""")


def find_open(connection: Connection) -> Recovery | None:
    """Return the recovery that has not ended, or None."""
    row = connection.execute(sa.select(recoveries).where(recoveries.c.end_time.is_(None))).one_or_none()
    return None if row is None else _recovery(row)


def begin(connection: Connection, recovery_id: UUID, cause: Cause, since: datetime | None, now: datetime) -> Recovery:
    """Begin a recovery unless one has not ended; return the open one."""
    values = {"recovery_id": recovery_id, "cause": cause, "since": since, "begin_time": now}
    connection.execute(insert(recoveries).values(values).on_conflict_do_nothing())
    if since is not None:
        connection.execute(sa.update(recoveries).where(recoveries.c.end_time.is_(None)).values(since=since))
    row = connection.execute(sa.select(recoveries).where(recoveries.c.end_time.is_(None))).one()
    return _recovery(row)


def end(connection: Connection, recovery_id: UUID, now: datetime) -> None:
    """End a recovery: services may change the database again."""
    connection.execute(sa.update(recoveries).where(recoveries.c.recovery_id == recovery_id).values(end_time=now))


@contextmanager
def locked(url: URL) -> Iterator[bool]:
    """Lock recoveries of this database in a session of its own; yield False if another session has locked them."""
    engine = open_engine(url, "ticket_service recover lock", poolclass=sa.NullPool)
    # PostgreSQL ends a session that idles in a transaction for 15 s, and a recovery takes longer than that.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK))).scalar_one())


def count_sessions(connection: Connection) -> int:
    """Count the sessions of services and relays on this database."""
    return int(connection.execute(_SESSIONS).scalar_one())


def count_changing(connection: Connection, before: datetime) -> int:
    """Count the transactions of others that began before a time and may still commit a change."""
    return int(connection.execute(_CHANGING, {"before": before}).scalar_one())


def renew_epoch(connection: Connection) -> None:
    """Change the epoch of the feed: every replica is filled anew."""
    connection.execute(sa.update(feed).values(epoch=sa.func.gen_random_uuid()))


def store_findings(connection: Connection, recovery_id: UUID, found: Sequence[Finding], now: datetime) -> None:
    """Store findings; one that is stored already stays as it is."""
    rows = [
        {
            "recovery_id": recovery_id,
            "kind": one.kind,
            "subject": one.subject,
            "event_id": one.event_id,
            "details": dict(one.details),
            "create_time": now,
        }
        for one in found
    ]
    if rows:
        connection.execute(insert(recovery_findings).values(rows).on_conflict_do_nothing())


def list_findings(connection: Connection, recovery_id: UUID) -> list[Finding]:
    """Read the findings of a recovery, by kind and subject."""
    its = recovery_findings.c.recovery_id == recovery_id
    query = sa.select(recovery_findings).where(its).order_by(recovery_findings.c.kind, recovery_findings.c.subject)
    return [Finding(FindingKind(row.kind), row.subject, row.event_id, row.details) for row in connection.execute(query)]


def _recovery(row: sa.Row[Any]) -> Recovery:
    return Recovery(**row._asdict() | {"cause": Cause(row.cause)})
