import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import URL

from ticket_service.store.tables import feed, metadata


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
