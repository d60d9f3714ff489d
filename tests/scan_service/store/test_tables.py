"""The migrations build what `tables` says."""

import uuid

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import ROOT, NewDatabase
from sqlalchemy.engine import URL

from chassis.migrations import migrate
from scan_service.store.tables import metadata

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
    """Alembic compares no check constraints. On a database of its own, for it takes the tables down."""
    engine = sa.create_engine(new_database("scan"))
    with engine.begin() as connection:
        migrated = connection.execute(sa.text(CONSTRAINTS)).all()
        connection.execute(sa.text("DROP TABLE alembic_version"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert migrated == connection.execute(sa.text(CONSTRAINTS)).all()
    engine.dispose()


def test_incidents_of_the_time_before_they_were_reported_are_left_alone(new_database: NewDatabase):
    url = new_database("scan")
    engine = sa.create_engine(url)
    insert = sa.text(
        "INSERT INTO incidents (event_id, kind, subject, incident_id, create_time)"
        " VALUES (:id, 'FORGED_TOKEN', :id, :id, now())"
    )
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE incidents DROP COLUMN reported"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0005'"))
        connection.execute(insert, {"id": uuid.uuid4()})
    migrate(url, ROOT / "scan_service" / "store" / "migrations")
    with engine.begin() as connection:
        connection.execute(insert, {"id": uuid.uuid4()})
        reported = connection.execute(sa.text("SELECT reported FROM incidents ORDER BY create_time")).scalars().all()
    engine.dispose()
    assert reported == [True, False]
