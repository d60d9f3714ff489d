"""Back up and restore the rows of a tickets database, as an operator restores an earlier moment."""

from sqlalchemy.engine import URL

from tests.environment.databases import connected


def tables(url: URL, *, is_whole: bool = False) -> list[str]:
    """Return the tables whose rows a backup contains; a whole one contains the epoch of the feed and the keys too."""
    with connected(url) as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        kept = {"alembic_version"} | (set() if is_whole else {"feed", "signing_keys"})
        return sorted(name for (name,) in cursor.fetchall() if name not in kept)


def back_up(url: URL, *, is_whole: bool = False) -> dict[str, str]:
    """Return the rows of the tables, in one snapshot as `pg_dump` does."""
    rows = {}
    names = tables(url, is_whole=is_whole)
    with connected(url) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in names:
            cursor.execute(f"SELECT coalesce(json_agg(t), '[]')::text FROM {table} AS t")
            rows[table] = cursor.fetchone()[0]
    return rows


def restore(url: URL, backup: dict[str, str]) -> None:
    """Replace all rows by those of a backup, and change the epoch of the feed."""
    restore_whole(url, backup)
    with connected(url) as cursor:
        cursor.execute("UPDATE feed SET epoch = gen_random_uuid()")


def restore_whole(url: URL, backup: dict[str, str]) -> None:
    """Replace all rows by those of a backup, as `pg_restore` does."""
    with connected(url) as cursor:
        statements = [f"DELETE FROM {table}" for table in backup]
        cursor.execute("; ".join(["SET session_replication_role = replica", *statements]))
        for table, rows in backup.items():
            cursor.execute(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s)", [rows])
        cursor.execute("SET session_replication_role = DEFAULT")
