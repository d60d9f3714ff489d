from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import psycopg2
import psycopg2.extras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name
from sqlalchemy.engine import URL

from ticketing.chassis.arrays import array, binaries, columns, ids, rows_of, times, types

# Texts that PostgreSQL can store: no NUL, no lone surrogate.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
STORED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def connection(url: URL) -> Iterator[Connection]:
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    yield connection
    connection.close()


def read_back(connection: Connection, literal: str, kind: str) -> list[object]:
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT value FROM unnest(%s::{kind}[]) WITH ORDINALITY AS t (value, n) ORDER BY n", [literal])
        return [value for (value,) in cursor.fetchall()]


@STORED
@given(st.lists(st.none() | TEXTS | st.sampled_from(["NULL", "{}", '"', "\\", 'a","b', ""]), max_size=8))
def test_texts_survive_the_round_trip(connection: Connection, values: list[str | None]) -> None:
    assert read_back(connection, array(values), "text") == values


@STORED
@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), max_size=4).map(lambda some: [*some, *some]))
def test_times_survive_the_round_trip(connection: Connection, values: list[datetime | None]) -> None:
    assert read_back(connection, times(values), "timestamptz") == values


@STORED
@given(st.lists(st.none() | st.uuids(), max_size=8))
def test_ids_survive_the_round_trip(connection: Connection, values: list[UUID | None]) -> None:
    assert read_back(connection, ids(values), "uuid") == values


@STORED
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_bytes_survive_the_round_trip(connection: Connection, values: list[bytes]) -> None:
    assert [bytes(cast(memoryview, one)) for one in read_back(connection, binaries(values), "bytea")] == values


def test_other_types_are_written_as_text(connection: Connection) -> None:
    assert read_back(connection, array([1, None, -5]), "bigint") == [1, None, -5]
    assert read_back(connection, array([True, False]), "boolean") == [True, False]


def test_short_arrays_are_filled_with_null(connection: Connection) -> None:
    defined = columns("number integer, name text, id uuid")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"PREPARE listed (text, {types(defined)}) AS SELECT $1, * FROM ({rows_of(defined, 2)}) AS row")
        cursor.execute("EXECUTE listed('x', %s, %s, %s)", [array([1, 2]), array(["a"]), ids([])])
        assert cursor.fetchall() == [("x", 1, "a", None), ("x", 2, None, None)]
