import uuid

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import URL

from tests.environment import ROOT
from tests.environment.databases import NewDatabase, execute
from ticket_service.store.tables import feed, metadata
from ticketing.chassis.migrations import migrate

SCRIPTS = ROOT / "ticket_service" / "store" / "migrations"


def checks(inspector: sa.Inspector, table: str) -> set[str | None]:
    return {check["name"] for check in inspector.get_check_constraints(table)}


def test_migrations_create_the_tables_of_the_metadata(tickets_url: URL):
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_create_the_check_constraints(tickets_url: URL):
    # Alembic does not compare check constraints.
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():
            wanted = {check.name for check in table.constraints if isinstance(check, sa.CheckConstraint)}
            assert checks(inspector, table.name) == wanted


def test_a_new_database_has_one_epoch(tickets_url: URL):
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert len(connection.execute(sa.select(feed)).all()) == 1


def test_a_check_in_updates_a_ticket_in_place(tickets_url: URL):
    # Alembic does not compare storage parameters.
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        options = sa.text("SELECT reloptions FROM pg_class WHERE oid = 'tickets'::regclass")
        assert connection.execute(options).scalar_one() == ["fillfactor=80"]
        indexed = {name for index in sa.inspect(connection).get_indexes("tickets") for name in index["column_names"]}
    assert not indexed & {"check_in_time", "check_in_sequence", "update_time"}


EVENT = sa.text(
    "INSERT INTO events (event_id, organizer_id, name, description, event_type, status, start_time, end_time, time_zone,"
    " location, is_online, reserved, currency, ticket_price, refund_tiers, admission_policy, image_url, metadata,"
    " create_time, update_time, revision, changed_revision, version)"
    " VALUES (:id, 'olga', 'Concert', '', 'OTHER', 'PUBLISHED', now() - interval '9 days',"
    " now() + CAST(:ends AS interval), 'UTC',"
    " '', false, 0, 'EUR', 0, '[]', 'SINGLE_ENTRY', '', '{}', now(), now(), 7, 3, 1)"
)


def migrate_to(url: URL, revision: str) -> None:
    """Create the tables of an older version."""
    execute(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate(url, SCRIPTS, revision)


def test_the_feed_delivers_current_events_again_after_the_migration(new_database: NewDatabase):
    """The scan service needs their time zones, which the feed did not contain."""
    url = new_database("ticket")
    migrate_to(url, "0012")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for ends in ("1 day", "-2 days"):
            connection.execute(EVENT, {"id": uuid.uuid4(), "ends": ends})
    migrate(url, SCRIPTS)
    with engine.begin() as connection:
        rows = connection.execute(sa.text("SELECT revision, changed_revision FROM events ORDER BY end_time")).all()
    assert [tuple(row) for row in rows] == [(7, 3), (8, 8)]


def test_texts_of_an_older_version_become_nfc(new_database: NewDatabase):
    url = new_database("ticket")
    migrate_to(url, "0019")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(EVENT, {"id": uuid.uuid4(), "ends": "1 day"})
        spelled = {"name": "Zu\u0308rich", "metadata": '{"e\u0301": ["e\u0301"]}'}
        connection.execute(sa.text("UPDATE events SET name = :name, metadata = CAST(:metadata AS jsonb)"), spelled)
        key = sa.text(
            "INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)"
            " VALUES (:caller, :id, '', :id, :id, now())"
        )
        both, one = uuid.uuid4(), uuid.uuid4()
        for caller, request_id in [("e\u0301", both), ("\u00e9", both), ("e\u0301", one)]:
            connection.execute(key, {"caller": caller, "id": request_id})
    migrate(url, SCRIPTS)
    with engine.begin() as connection:
        event = connection.execute(sa.text("SELECT name, metadata FROM events")).one()
        assert tuple(event) == ("Z\u00fcrich", {"\u00e9": ["\u00e9"]})
        keys = connection.execute(sa.text("SELECT caller, request_id FROM idempotency_keys"))
        assert {tuple(row) for row in keys} == {("e\u0301", both), ("\u00e9", both), ("\u00e9", one)}
