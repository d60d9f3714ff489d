"""The distribution of tables by `deploy/citus`, and the tables that a statement reads without their event."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import expressions as exp

from tests.environment import ROOT

FOLDER = ROOT / "deploy" / "citus"
REFERENCE = re.compile(r"create_reference_table\('(\w+)'\)")
DISTRIBUTED = re.compile(r"create_distributed_table\('(\w+)', '(\w+)', colocate_with => '(\w+)'\)")
# The parameter types of a prepared statement, and the parameters of psycopg2.
TYPES = re.compile(r"^\s*\([^)]*\)\s+AS\s+")
PARAMETER = re.compile(r"%\(\w+\)s|%s")
EVENT = "event_id"


@dataclass(frozen=True)
class Distribution:
    """The distribution of one database: its distribution columns and colocation by table, and its reference tables."""

    columns: dict[str, tuple[str, str]]
    references: frozenset[str]
    # All tables in the order of the file.
    order: tuple[str, ...]

    @property
    def by_event(self) -> frozenset[str]:
        return frozenset(table for table, (column, _) in self.columns.items() if column == EVENT)


def read_distribution(path: Path) -> Distribution:
    text = path.read_text()
    columns = {table: (column, colocated) for table, column, colocated in DISTRIBUTED.findall(text)}
    order = re.findall(r"create_\w+_table\('(\w+)'", text)
    return Distribution(columns, frozenset(REFERENCE.findall(text)), tuple(order))


def tables_without_event(statement: str, by_event: frozenset[str]) -> set[str]:
    """Return the tables of `by_event` that any part of a statement reads or changes without naming the event."""
    [tree] = sqlglot.parse(PARAMETER.sub("NULL", TYPES.sub("", statement)), read="postgres")
    assert tree is not None
    ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
    found = set()
    for part in tree.find_all(exp.Select, exp.Update, exp.Delete, exp.Insert):
        sources = {alias: name for alias, name in _sources(part) if name in by_event and name not in ctes}
        named = set(_named_events(part, list(sources)))
        found |= {name for alias, name in sources.items() if alias not in named}
    return found


def _sources(part: exp.Expression) -> Iterator[tuple[str, str]]:
    """Yield the alias and the name of each table of one SELECT, UPDATE, DELETE or INSERT, without its subqueries."""
    direct = [part.this] if not isinstance(part, exp.Select) else []
    clause = part.args.get("from_") or part.args.get("from")
    direct += [clause.this] if clause else []
    direct += [join.this for join in part.args.get("joins") or []]
    direct += [join.this for source in direct if source is not None for join in source.args.get("joins") or []]
    for source in direct:
        table = source.this if isinstance(source, exp.Schema) else source
        if isinstance(table, exp.Table):
            yield table.alias_or_name, table.name


def _named_events(part: exp.Expression, aliases: list[str]) -> Iterator[str]:
    """Yield the aliases whose event one part compares, joins by, or inserts."""
    if isinstance(part, exp.Insert):
        columns = part.this.expressions if isinstance(part.this, exp.Schema) else []
        if EVENT in {column.name for column in columns}:
            yield from aliases
        return
    conditions = [part.args.get("where")]
    for join in [*(part.args.get("joins") or []), *part.find_all(exp.Join)]:
        if join.parent_select is not part and isinstance(part, exp.Select):
            continue
        conditions.append(join.args.get("on"))
        if EVENT in {column.name for column in join.args.get("using") or []}:
            yield from aliases
    for condition in conditions:
        for column in condition.find_all(exp.Column) if condition else ():
            if column.name == EVENT and isinstance(column.parent, exp.EQ | exp.In | exp.Tuple | exp.Any):
                yield from [column.table] if column.table else aliases
