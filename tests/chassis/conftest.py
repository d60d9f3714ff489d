import uuid
from collections.abc import Iterator

import pytest
from conftest import execute
from sqlalchemy.engine import URL

from chassis.database import database_url
from chassis.postgres import Lease


@pytest.fixture
def url(postgres: Lease) -> Iterator[URL]:
    """A database with one table of two rows."""
    name = f"chassis_{uuid.uuid4().hex}"
    url = database_url(postgres.url(name))
    execute(url, "CREATE TABLE counters (name text PRIMARY KEY, value int NOT NULL)")
    execute(url, "INSERT INTO counters VALUES ('a', 0), ('b', 0)")
    yield url
    execute(url.set(database="postgres"), f"DROP DATABASE {name} WITH (FORCE)")
