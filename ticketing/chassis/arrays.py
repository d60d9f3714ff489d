"""Array literals for the hot paths: one text a column, parsed by PostgreSQL at once.

psycopg2 would write a list as ARRAY['…', '…'], a node of PostgreSQL's parser for each element.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID


def ids(values: Iterable[UUID | None]) -> str:
    """Write UUIDs as `array` would, in a third of the time."""
    return "{" + ",".join(["NULL" if value is None else f"{value.int:032x}" for value in values]) + "}"


def times(values: Sequence[datetime | None]) -> str:
    """Write times as `array` would; what happens in one batch mostly happens at one time."""
    written = {value: f'"{value}"' for value in set(values)} | {None: "NULL"}
    return "{" + ",".join([written[value] for value in values]) + "}"


def array(values: Iterable[object | None]) -> str:
    """Write `values` by their text as the literal of an array of any type."""
    listed = values if isinstance(values, list) else list(values)
    if None not in listed:
        # Joined first and looked at once: a third of the time that looking at each takes.
        joined = '","'.join(map(str, listed))
        if "\\" not in joined and joined.count('"') == 2 * (len(listed) - 1):
            return '{"' + joined + '"}'
    return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in listed]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
