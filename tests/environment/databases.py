"""Databases for tests: one PostgreSQL server per worker, an empty migrated database per test."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from sqlalchemy.engine import URL

from tests.environment import ROOT
from ticketing.chassis.connections import connect, database_url
from ticketing.chassis.migrations import migrate
from ticketing.chassis.postgres import Lease


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lease]:
    with Lease(tmp_path_factory.mktemp("postgres"), fsync_initdb=False) as server:
        yield server


@contextmanager
def connected(url: URL) -> Iterator[Any]:
    """Open a cursor whose statements are one transaction."""
    connection = connect(url, "tests")
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def read_value(url: URL, query: str) -> Any:
    """Return the one value that a query reads."""
    with connected(url) as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def columns_with(url: URL, *texts: str) -> set[str]:
    """Return the columns of all tables that contain one of the texts in any row, in upper or lower case."""
    found = set()
    with connected(url) as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING"
            " (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for table, column in cursor.fetchall():
            for text in texts:
                # A bytea is printed in hexadecimal digits.
                wanted = (text.lower(), text.encode().hex())
                query = f'SELECT count(*) FROM "{table}" WHERE position(%s in lower("{column}"::text)) > 0'
                for form in wanted:
                    cursor.execute(query, [form])
                    if cursor.fetchone()[0]:
                        found.add(f"{table}.{column}")
    return found


def execute(url: URL, statement: str) -> None:
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()


def fresh_database(stack: ExitStack, template: URL) -> str:
    """Copy a migrated database, which the stack drops at its end; return its URL."""
    url = template.set(database=f"copy_{uuid.uuid4().hex}", drivername="postgresql")
    maintenance = template.set(database="postgres")
    execute(maintenance, f'CREATE DATABASE "{url.database}" TEMPLATE "{template.database}"')
    stack.callback(execute, maintenance, f'DROP DATABASE "{url.database}" WITH (FORCE)')
    return url.render_as_string(hide_password=False)


NewDatabase = Callable[[str], URL]


def migrated_templates(postgres: Lease) -> Callable[[str], URL]:
    """Return a function that migrates one template database per service, and returns its URL."""
    made: dict[str, URL] = {}

    def template(service: str) -> URL:
        if service not in made:
            url = database_url(postgres.url(f"template_{service}"))
            migrate(url, ROOT / f"{service}_service" / "store" / "migrations")
            made[service] = url
        return made[service]

    return template


@pytest.fixture(scope="session")
def templates(postgres: Lease) -> Callable[[str], URL]:
    """Migrate one template database per service and worker."""
    return migrated_templates(postgres)


@pytest.fixture
def new_database(templates: Callable[[str], URL]) -> Iterator[NewDatabase]:
    """Make empty databases of a service ("ticket" or "scan"); the teardown drops them."""
    made: list[URL] = []

    def make(service: str) -> URL:
        template = templates(service)
        url = template.set(database=f"{service}_{uuid.uuid4().hex}")
        maintenance = template.set(database="postgres")
        execute(maintenance, f'CREATE DATABASE "{url.database}" TEMPLATE "{template.database}"')
        made.append(url)
        return url

    yield make
    for url in made:
        execute(url.set(database="postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')


@dataclass(frozen=True)
class Reusable:
    """A migrated database that tests use one after the other: emptying takes a tenth of the time of creating."""

    url: URL
    tables: list[str]
    # The rows that the migrations inserted, by table, as JSON.
    seeds: dict[str, str]

    @classmethod
    def of(cls, url: URL) -> "Reusable":
        """Read the tables and rows of a database that was migrated just now."""
        with connected(url) as cursor:
            cursor.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            tables = [name for (name,) in cursor.fetchall()]
            seeds = {}
            for table in tables:
                cursor.execute(f"SELECT json_agg(t)::text FROM {table} t")
                [(rows,)] = cursor.fetchall()
                if rows:
                    seeds[table] = rows
        return cls(url, tables, seeds)

    def empty(self) -> None:
        """Restore the migrated state, in one round trip: most tests begin with it.

        Sessions of killed processes end first, because they may own locks.
        """
        statements = [
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "SET LOCAL session_replication_role = replica",
            "SET LOCAL synchronous_commit = off",
            *(f"DELETE FROM {table}" for table in self.tables),
            *(f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, %s)" for table in self.seeds),
        ]
        with connected(self.url) as cursor:
            cursor.execute("; ".join(statements), list(self.seeds.values()))


@pytest.fixture(scope="session")
def reusable(templates: Callable[[str], URL]) -> Callable[[str], Reusable]:
    """Make one reusable database per service and worker."""
    made: dict[str, Reusable] = {}

    def give(service: str) -> Reusable:
        if service not in made:
            template = templates(service)
            url = template.set(database=f"reusable_{service}")
            execute(
                template.set(database="postgres"), f'CREATE DATABASE "{url.database}" TEMPLATE "{template.database}"'
            )
            made[service] = Reusable.of(url)
        return made[service]

    return give


@pytest.fixture
def tickets_url(reusable: Callable[[str], Reusable]) -> URL:
    """Return an empty, migrated tickets database."""
    database = reusable("ticket")
    database.empty()
    return database.url


@pytest.fixture
def scans_url(reusable: Callable[[str], Reusable]) -> URL:
    """Return an empty, migrated scans database."""
    database = reusable("scan")
    database.empty()
    return database.url
