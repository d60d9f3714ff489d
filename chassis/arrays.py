"""Array literals for the hot paths: one text a column, parsed by PostgreSQL at once.

psycopg2 would write a list as ARRAY['…', '…'], a node of PostgreSQL's parser for each element.
"""

from collections.abc import Iterable
from uuid import UUID


def ids(values: Iterable[UUID | None]) -> str:
    """Write UUIDs as `array` would, in a third of the time."""
    return "{" + ",".join(["NULL" if value is None else f"{value.int:032x}" for value in values]) + "}"


def array(values: Iterable[object | None]) -> str:
    """Write `values` by their text as the literal of an array of any type."""
    return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
