"""Back up and restore a scans database, as `pg_dump` and `pg_restore` do, and the options of its recovery."""

from argparse import ArgumentParser, Namespace

from sqlalchemy.engine import URL

from scan_service.commands.recover import add_arguments
from tests.environment.databases import connected


def back_up(url: URL) -> dict[str, str]:
    """Return the rows of every table, in one snapshot."""
    rows = {}
    with connected(url) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT coalesce(json_agg(t), '[]')::text FROM {table} AS t")
            rows[table] = cursor.fetchone()[0]
    return rows


def restore(url: URL, backup: dict[str, str]) -> None:
    """Replace all rows of a database, the same or another one, by those of a backup."""
    with connected(url) as cursor:
        statements = [f"DELETE FROM {table}" for table in backup]
        cursor.execute("; ".join(["SET session_replication_role = replica", *statements]))
        for table, rows in backup.items():
            cursor.execute(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s)", [rows])
        cursor.execute("SET session_replication_role = DEFAULT")


def parsed(*arguments: str) -> Namespace:
    """Parse the options of `python -m scan_service recover`."""
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)
