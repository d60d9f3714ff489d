"""Tests of the migrations: they create the tables, keep existing rows and mask recorded codes."""

import base64
import uuid
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import URL

from scan_service.store.tables import metadata
from tests.environment import ROOT
from tests.environment.databases import NewDatabase, execute
from ticketing.chassis.migrations import migrate

SCRIPTS = ROOT / "scan_service" / "store" / "migrations"

CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND conrelid::regclass::text <> 'alembic_version'"
    " ORDER BY 1, 2"
)


def test_migrating_an_empty_database_builds_exactly_the_tables(scans_url: URL):
    engine = sa.create_engine(scans_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_migrations_build_the_same_checks_as_the_metadata(new_database: NewDatabase):
    """Alembic compares no check constraints. The test drops all tables, so it has its own database."""
    engine = sa.create_engine(new_database("scan"))
    with engine.begin() as connection:
        migrated = connection.execute(sa.text(CONSTRAINTS)).all()
        connection.execute(sa.text("DROP TABLE alembic_version"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert migrated == connection.execute(sa.text(CONSTRAINTS)).all()
    engine.dispose()


def test_incidents_before_the_migration_are_not_reported(new_database: NewDatabase):
    url = at_revision(new_database, "0005")
    engine = sa.create_engine(url)
    insert = sa.text(
        "INSERT INTO incidents (event_id, kind, subject, incident_id, create_time)"
        " VALUES (:id, 'FORGED_TOKEN', :id, :id, now())"
    )
    with engine.begin() as connection:
        connection.execute(insert, {"id": uuid.uuid4()})
    migrate(url, SCRIPTS)
    with engine.begin() as connection:
        connection.execute(insert, {"id": uuid.uuid4()})
        reported = connection.execute(sa.text("SELECT reported FROM incidents ORDER BY create_time")).scalars().all()
    engine.dispose()
    assert reported == [True, False]


# A real token has this length: a payload of 45 bytes and its signature.
TOKEN = "T1" + base64.b32encode(bytes(range(109))).decode().rstrip("=")

# The columns that later migrations add to a scan.
NEW = {
    "issue": None,
    "claimed_annul_time": None,
    "doubtful_time": False,
    "looked_up": False,
    "group_admission": None,
}
SCAN = sa.text(
    "INSERT INTO scans (event_id, scan_id, fingerprint, code, scan_type, verdict, denial_reason,"
    " scan_time, record_time, location, device_id, scanner_user_id, offline, metadata)"
    " VALUES (:id, :id, '\\x01', :code, 'CHECK_IN', 'DENIED', 'TICKET_NOT_FOUND',"
    " now(), now(), 'North', 'device', 'someone', false, '{\"lane\": 3}')"
)


@pytest.fixture
def at_0004(new_database: NewDatabase) -> URL:
    """Create a database at revision 0004, when scans were recorded with full codes."""
    return at_revision(new_database, "0004")


def at_revision(new_database: NewDatabase, revision: str) -> URL:
    """Create a database with the tables of an earlier version."""
    url = new_database("scan")
    execute(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate(url, SCRIPTS, revision)
    return url


def upgraded(url: URL, codes: Sequence[str]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Record a scan of each of `codes`, migrate, and return the rows before and after."""
    engine = sa.create_engine(url)
    every = sa.text("SELECT * FROM scans ORDER BY scan_id")
    with engine.begin() as connection:
        connection.execute(SCAN, [{"id": uuid.UUID(int=number), "code": code} for number, code in enumerate(codes)])
        before = [dict(row) for row in connection.execute(every).mappings()]
    migrate(url, SCRIPTS)
    with engine.begin() as connection:
        after = [dict(row) for row in connection.execute(every).mappings()]
    engine.dispose()
    return before, after


def test_the_migration_masks_recorded_codes_and_tokens(at_0004: URL):
    left = {
        "TKT-0123456789ABCDEF": "TKT-012345…",
        "TKT-012345…": "TKT-012345…",
        TOKEN: f"{TOKEN[:8]}…",
    }
    before, after = upgraded(at_0004, list(left))
    assert after == [{**row, "code": code, **NEW} for row, code in zip(before, left.values(), strict=True)]


def test_the_migration_keeps_no_text_that_may_be_nearly_a_code(at_0004: URL):
    texts = ["", "4006381333931", "TKT-0123-4567-89AB-CDEF", "0123456789abcdef", " tkt-0123456789abcdef", f"]Q1{TOKEN}"]
    _, after = upgraded(at_0004, texts)
    assert [row["code"] for row in after] == [
        "(0 characters)",
        "(13 characters)",
        "(23 characters)",
        "(16 characters)",
        # An earlier migration shortened these two.
        "(12 characters)",
        "(44 characters)",
    ]
