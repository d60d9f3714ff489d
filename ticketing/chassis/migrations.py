"""Schema migrations by Alembic at the start: one process at a time, each migration in a transaction of its own.

Processes of the version before serve meanwhile. So a migration waits only briefly for a lock, because everybody else
queues behind it, and starts again later; indexes are built concurrently (`ticketing.chassis.migration_steps`).

The ids of revisions are four digits, with which the names of their files begin. A program also serves on a newer schema,
because migrations only add: processes of the version before may restart during an upgrade.

Only a start that has something to migrate imports Alembic, which takes 8 MB and 0.1 s.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.connections import open_engine
from ticketing.chassis.database_checks import UnsuitableDatabaseError

log = logging.getLogger(__name__)

# Any number that is the same in all processes; PostgreSQL scopes it to one database. Programs up to 0.1.0 wait for the
# number before it within a transaction, for which a concurrent build of an index would wait in turn.
LOCK: Final = 7_205_759_403_792_796
LOCK_POLL_SECONDS: Final = 0.2

# While a migration waits for a table, all later users of the table wait behind it. The limit exceeds PostgreSQL's
# deadlock_timeout of 1 s, because only then an autovacuum of the table makes way. No statement has another limit: the
# validation of a large table takes its time, without a lock that others notice.
LIMITS: Final = {"lock_timeout": 2_000, "statement_timeout": 0}
# 55P03 lock_not_available, 40P01 deadlock_detected.
LOST_LOCK: Final = frozenset({"55P03", "40P01"})
ATTEMPTS: Final = 60
# The pause lets the queue behind the table drain.
FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 10.0

_REVISION: Final = re.compile(r"\d{4}")
_OWN_TABLE: Final = re.compile(r'^own_table = "(\w+)"$', re.MULTILINE)
_OLDEST_TRANSACTIONS: Final = sa.text(
    "SELECT format('process %s of %s, %s, since %s', pid, application_name, state, xact_start) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    " ORDER BY xact_start LIMIT 3"
)


def migrate(url: URL, scripts: Path, to: str = "head") -> None:
    """Upgrade the database at `url` to the revision `to` of `scripts`, by default the newest.

    Raises:
        UnsuitableDatabaseError: the database is another program's or damaged, or its tables stay locked.
        sqlalchemy.exc.OperationalError: PostgreSQL cannot be reached.
    """
    revisions, own_table = _revisions(scripts), _own_table(scripts)
    engine = open_engine(url, "migration", LIMITS, poolclass=sa.NullPool)
    with engine.connect() as connection:
        if _found_revision(connection) == revisions[-1] and _has_table(connection, own_table):
            return
        with _alone(connection):

            def upgrade() -> None:
                # A step that failed outside of a transaction leaves its own limit.
                connection.execute(sa.text(f"SET lock_timeout = {LIMITS['lock_timeout']}"))
                connection.commit()
                if _is_due(connection, revisions, own_table):
                    before = _found_revision(connection)
                    _upgrade(connection, scripts, to)
                    facts = {"from_revision": before, "revision": _found_revision(connection)}
                    log.info("the database is migrated", extra=facts)

            _retry_locks(connection, upgrade)


def _upgrade(connection: Connection, scripts: Path, to: str) -> None:
    # At INFO Alembic logs the name of each of its own plugins.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    from alembic import command  # noqa: PLC0415 - see the top of this module
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _retry_locks(connection: Connection, upgrade: Callable[[], object]) -> None:
    """Run `upgrade` until all its migrations have had their locks; it continues after the last committed one."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            upgrade()
        except (DBAPIError, PendingRollbackError) as error:
            if connection.invalidated:
                raise UnsuitableDatabaseError(
                    "the database ended the connection of a migration: start again, and the migration continues"
                ) from error
            if not isinstance(error, DBAPIError) or getattr(error.orig, "pgcode", None) not in LOST_LOCK:
                raise
            connection.rollback()
            _report_wait(connection, error)
        else:
            return
        time.sleep(backoff_seconds(attempt, first=FIRST_PAUSE_SECONDS, max_seconds=MAX_PAUSE_SECONDS))
    raise UnsuitableDatabaseError(
        f"a migration did not get its locks in {ATTEMPTS} tries: end the sessions that the log names, and start again"
    )


def _is_due(connection: Connection, revisions: Sequence[str], own_table: str) -> bool:
    """Return whether the database has an older revision than the newest of `revisions`, or none.

    Raises:
        UnsuitableDatabaseError: the tables are not those of these scripts.
    """
    found, head = _found_revision(connection), revisions[-1]
    is_own = _has_table(connection, own_table)
    if found is None:
        if is_own:
            raise UnsuitableDatabaseError(
                f"the database is damaged: it has the table {own_table}, but alembic_version has no revision;"
                " restore it from a backup"
            )
        return True
    if not is_own:
        raise UnsuitableDatabaseError(
            f"the database belongs to another program: it has the revision {found} and no table {own_table};"
            " each service needs a database of its own"
        )
    if found in revisions:
        return found != head
    if not _REVISION.fullmatch(found) or found < head:
        raise UnsuitableDatabaseError(
            f"the database has the unknown revision {found}; this program is made for {head}: start the version that"
            " migrated it, or restore a backup"
        )
    log.warning("the database is newer than this program", extra={"revision": found, "program_revision": head})
    return False


def _found_revision(connection: Connection) -> str | None:
    """Return the revision of the database; None where it is empty."""
    found: Sequence[str] = ()
    if _has_table(connection, "alembic_version"):
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    connection.rollback()
    if len(found) > 1:
        raise UnsuitableDatabaseError(
            f"the database is damaged: alembic_version has the revisions {', '.join(sorted(found))}; restore a backup"
        )
    return found[0] if found else None


def _revisions(scripts: Path) -> Sequence[str]:
    """Return the revisions of the scripts, in order."""
    return sorted(path.name[:4] for path in _files(scripts))


def _own_table(scripts: Path) -> str:
    """Return the table that proves a database to be that of these scripts; the first of them creates and names it."""
    (table,) = _OWN_TABLE.findall(min(_files(scripts)).read_text())
    return str(table)


def _files(scripts: Path) -> Sequence[Path]:
    return [path for path in (scripts / "versions").glob("*.py") if _REVISION.match(path.name)]


def _has_table(connection: Connection, table: str) -> bool:
    found = connection.execute(sa.select(sa.func.to_regclass(table))).scalar_one()
    connection.rollback()
    return found is not None


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Exclude the migrations of all other processes by a lock of the session.

    A process that waits for the lock polls it. A wait in PostgreSQL would be a transaction, for which a concurrent build
    of an index by the owner of the lock would wait in turn.
    """
    try_lock = sa.select(sa.func.pg_try_advisory_lock(LOCK))
    is_first = True
    while not connection.execute(try_lock).scalar_one():
        connection.rollback()
        if is_first:
            log.info("another process migrates the database; this one waits")
        is_first = False
        time.sleep(LOCK_POLL_SECONDS)
    connection.commit()
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(sa.select(sa.func.pg_advisory_unlock(LOCK)))
            connection.commit()


def _report_wait(connection: Connection, error: DBAPIError) -> None:
    oldest = connection.execute(_OLDEST_TRANSACTIONS).scalars().all()
    connection.rollback()
    log.warning(
        "a migration did not get a lock, and starts again",
        extra={"error": str(error.orig).strip(), "statement": error.statement, "oldest_transactions": oldest},
    )
