"""Texts of PostgreSQL's errors for the log, without values."""

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from ticketing.chassis.connections import open_engine
from ticketing.chassis.error_texts import error_text, exception_text

SECRET = "vera's secret seat"


def failure(url: URL, statement: str) -> BaseException:
    """Return the error of a statement that contains the secret as `:secret`."""
    with open_engine(url, "test", poolclass=sa.NullPool).connect() as connection:
        connection.execute(sa.text("CREATE TEMPORARY TABLE seats (seat text PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO seats VALUES (:secret)"), {"secret": SECRET})
        with pytest.raises(sa.exc.DBAPIError) as failed:
            connection.execute(sa.text(statement), {"secret": SECRET})
    return failed.value


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("INSERT INTO seats VALUES (:secret)", "23505 duplicate key value violates unique constraint"),
        ("SELECT CAST(:secret AS uuid)", "22P02 [SELECT CAST("),
        ("SELECT CAST(:secret AS integer)", "22P02"),
        ("SELECT 1 FROM nowhere WHERE x = :secret", '42P01 relation "nowhere" does not exist'),
        ("UPDATE seats SET seat = NULL WHERE seat = :secret", "23502 null value in column"),
    ],
)
def test_an_error_names_its_cause_and_no_value(url: URL, statement: str, text: str) -> None:
    error = failure(url, statement)
    assert text in error_text(error)
    assert text in exception_text(error)
    assert "vera" not in error_text(error) + exception_text(error)


def test_the_text_of_libpq_is_one_line() -> None:
    with pytest.raises(psycopg2.OperationalError) as failed:
        psycopg2.connect("postgresql://u@127.0.0.1:1/none")
    assert "127.0.0.1" in error_text(failed.value)
    assert "\n" not in error_text(failed.value)


def test_a_traceback_has_its_causes_and_the_members_of_groups() -> None:
    def fail() -> None:
        raise ExceptionGroup("several", [ValueError("member")]) from KeyError("first")

    with pytest.raises(ExceptionGroup) as failed:
        fail()
    text = exception_text(failed.value)
    assert text.index("KeyError: 'first'") < text.index("ValueError: member") < text.index("ExceptionGroup: several")
    assert "in fail" in text


def test_a_cycle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert exception_text(one).count("ValueError: one") == 1
