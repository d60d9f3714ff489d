import pytest
from sqlalchemy.engine import URL

from tests.environment.databases import execute
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import Lease


@pytest.fixture(scope="session")
def counters(postgres: Lease) -> URL:
    """Return the URL of one database for this worker: one per test would take most of the time."""
    url = database_url(postgres.url("chassis"))
    execute(url, "CREATE TABLE counters (name text PRIMARY KEY, value int NOT NULL)")
    return url


@pytest.fixture
def url(counters: URL) -> URL:
    """Return the URL of a database with one table of two rows."""
    execute(counters, "TRUNCATE counters; INSERT INTO counters VALUES ('a', 0), ('b', 0)")
    return counters
