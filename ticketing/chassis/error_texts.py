"""Texts of exceptions for the log, without the values of a request.

PostgreSQL quotes values in the details of an error, and psycopg2 the statement with its values. Tracebacks contain no
values by themselves, only the texts of their exceptions do.
"""

import traceback
from typing import Final

import psycopg2
from sqlalchemy.exc import DBAPIError

# The class of SQLSTATE whose messages quote the invalid value: data_exception.
_QUOTES_VALUES: Final = "22"
MAX_STATEMENT: Final = 300
_CAUSE: Final = "\nThe exception above was the cause of the following one:\n\n"


def error_text(error: BaseException) -> str:
    """Return the text of an exception; that of a PostgreSQL error names its state, table and constraint, and no value."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        statement = " ".join((error.statement or "").split())[:MAX_STATEMENT]
        return f"{error_text(error.orig)} [{statement}]"
    if not isinstance(error, psycopg2.Error) or error.pgcode is None:
        # Without a state, the text is one of libpq: it names hosts and ports.
        return " ".join(str(error).split()) if isinstance(error, psycopg2.Error) else str(error)
    diagnostics = error.diag
    message = "" if error.pgcode.startswith(_QUOTES_VALUES) else diagnostics.message_primary or ""
    facts = {
        "table": diagnostics.table_name,
        "column": diagnostics.column_name,
        "constraint": diagnostics.constraint_name,
    }
    named = [f"{name} {value}" for name, value in facts.items() if value]
    return ", ".join([f"{error.pgcode} {message}".strip(), *named])


def exception_text(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes, as `traceback` does, with the texts of `error_text`."""
    return "".join(_parts(error, set()))


def _parts(error: BaseException, seen: set[int]) -> list[str]:
    if id(error) in seen:
        return []
    seen.add(id(error))
    parts: list[str] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and (before := _parts(cause, seen)):
        parts = [*before, _CAUSE]
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            parts += _parts(one, seen)
    if error.__traceback__ is not None:
        parts += ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
    kind = type(error)
    return [*parts, f"{kind.__module__}.{kind.__qualname__}: {error_text(error)}\n"]
