"""Migrations run beside processes of the version before: none locks a large table for long or removes anything."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL

from tests.contract.migration_rules import statements, violations
from tests.environment import ROOT
from ticketing.chassis.database_checks import UnsuitableDatabaseError
from ticketing.chassis.migrations import migrate

# The migrations of version 0.1.0, from before the rules.
RELEASED = {"ticket_service": "0008", "scan_service": "0006"}
BREACHES = [
    "CREATE INDEX i ON purchases (user_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS i ON purchases (user_id)",
    "ALTER TABLE ledger ADD CONSTRAINT c CHECK (amount >= 0)",
    "ALTER TABLE ledger ADD CONSTRAINT c UNIQUE (entry_id)",
    "ALTER TABLE tickets ADD CONSTRAINT c FOREIGN KEY(event_id) REFERENCES events (event_id)",
    "ALTER TABLE tickets ADD COLUMN seat TEXT NOT NULL",
    "ALTER TABLE tickets ADD COLUMN seat UUID DEFAULT gen_random_uuid() NOT NULL",
    "ALTER TABLE tickets ADD COLUMN seat BIGINT GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE tickets ADD COLUMN seat BIGSERIAL",
    "ALTER TABLE tickets ALTER COLUMN price TYPE NUMERIC",
    "ALTER TABLE tickets ALTER COLUMN price SET NOT NULL",
    "ALTER TABLE tickets DROP COLUMN price",
    "ALTER TABLE events RENAME COLUMN name TO title",
    "ALTER TABLE purchases RENAME TO orders",
    "DROP TABLE contacts",
]
SAFE = [
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON purchases (user_id) WHERE due_time IS NOT NULL",
    "CREATE INDEX i ON events (name)",
    "ALTER TABLE ledger ADD CONSTRAINT c CHECK (amount >= 0) NOT VALID",
    "ALTER TABLE ledger VALIDATE CONSTRAINT c",
    "ALTER TABLE ledger DROP CONSTRAINT c",
    "ALTER TABLE ledger ADD CONSTRAINT c UNIQUE USING INDEX i",
    "ALTER TABLE tickets ADD COLUMN seat TEXT",
    "ALTER TABLE tickets ADD COLUMN seat BIGINT DEFAULT '0' NOT NULL",
    "ALTER TABLE tickets ADD COLUMN seat BOOLEAN DEFAULT false NOT NULL",
    "UPDATE events SET revision = revision + 1",
]


def scripts_of(service: str) -> Path:
    return ROOT / service / "store" / "migrations"


def revisions_of(service: str) -> dict[str, Path]:
    """Return the revisions of a service from the newest to the oldest, as Alembic orders them, with their files."""
    config = Config()
    config.set_main_option("script_location", str(scripts_of(service)))
    return {script.revision: Path(script.path) for script in ScriptDirectory.from_config(config).walk_revisions()}


def migrations() -> list[tuple[str, str]]:
    return [
        (service, revision)
        for service, released in RELEASED.items()
        for revision in sorted(revisions_of(service))
        if revision > released
    ]


@pytest.mark.parametrize(("service", "revision"), migrations())
def test_a_migration_runs_beside_the_version_before(service: str, revision: str) -> None:
    sql = statements(scripts_of(service), revision)
    assert sql
    assert violations(sql) == []


@pytest.mark.parametrize("service", RELEASED)
def test_files_begin_with_their_revisions_in_order(service: str) -> None:
    """A start reads the revisions from the names of the files, without Alembic."""
    chain = revisions_of(service)
    assert list(chain) == sorted(chain, reverse=True)
    assert [path.name[:4] for path in chain.values()] == list(chain)


def test_each_service_refuses_the_database_of_the_other(tickets_url: URL, scans_url: URL) -> None:
    for url, other in ((tickets_url, "scan_service"), (scans_url, "ticket_service")):
        with pytest.raises(UnsuitableDatabaseError, match="belongs to another program"):
            migrate(url, scripts_of(other))


@pytest.mark.parametrize("statement", BREACHES)
def test_a_statement_that_blocks_or_breaks_others_is_found(statement: str) -> None:
    assert len(violations([statement])) == 1


@pytest.mark.parametrize("statement", SAFE)
def test_a_statement_that_blocks_nobody_passes(statement: str) -> None:
    assert violations([statement]) == []


def test_a_table_of_the_same_migration_is_free() -> None:
    assert violations(["CREATE TABLE seats (seat_id UUID)", "CREATE INDEX i ON seats (seat_id)"]) == []


def test_a_concurrent_build_stands_alone() -> None:
    column, index = "ALTER TABLE tickets ADD COLUMN seat TEXT", "CREATE INDEX CONCURRENTLY i ON tickets (seat)"
    assert len(violations([column, "SET lock_timeout = '1h'", index])) == 1


def test_rows_are_not_changed_while_a_table_is_locked() -> None:
    column, update = "ALTER TABLE tickets ADD COLUMN seat TEXT", "UPDATE tickets SET seat = '1'"
    assert len(violations([column, update])) == 1
    assert violations([update]) == []
