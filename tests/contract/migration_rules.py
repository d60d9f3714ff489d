"""The rules of migrations that run beside processes of the version before, applied to the SQL of each migration."""

import io
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

# Tables with few rows, on which a scan or an index takes milliseconds; a lock waits for at most the limit of migrations.
SMALL: Final = {
    "devices": "the gate devices of all organizers",
    "events": "thousands of events",
    "feed": "one row",
    "incidents": "conflicts, which are rare",
    "offers": "some for each event",
    "signing_keys": "one key for each rotation",
}
_NAME: Final = r'"?(\w+)"?'
_CREATED: Final = re.compile(rf"CREATE TABLE {_NAME}")
_INDEX: Final = re.compile(rf"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*? ON {_NAME}", re.DOTALL)
_TABLE: Final = re.compile(rf"ALTER TABLE (?:ONLY )?{_NAME} (.*)", re.DOTALL)
_CHANGED: Final = re.compile(rf"(?:UPDATE|DELETE FROM|INSERT INTO) {_NAME}")
_ADDED: Final = re.compile(rf"ADD COLUMN {_NAME} (.*)", re.DOTALL)
# A function of the default is called for each row, except one that is stable within a statement.
_CONSTANT: Final = re.compile(
    r"DEFAULT ('[^']*'(::\w+)?|-?\d+|true|false|now\(\)|CURRENT_TIMESTAMP)(?= |$)", re.IGNORECASE
)

# The forms of ALTER TABLE, apart from ADD COLUMN, that rewrite or scan a table, or break the version before.
_ALTERATIONS: Final = {
    r"DROP COLUMN": "drops a column that the version before uses",
    r"RENAME": "renames what the version before uses",
    r"ALTER COLUMN \S+ (SET DATA )?TYPE": "rewrites the table",
    r"ALTER COLUMN \S+ SET NOT NULL": "scans the table under a lock",
    r"SET (TABLESPACE|LOGGED|UNLOGGED)": "rewrites the table",
    r"ADD CONSTRAINT \S+ (UNIQUE|PRIMARY KEY|EXCLUDE)(?!.* USING INDEX)": "builds an index under a lock",
    r"ADD CONSTRAINT \S+ (CHECK|FOREIGN KEY)(?!.* NOT VALID)": "scans the table under a lock; use NOT VALID",
}


@cache
def statements(scripts: Path, revision: str) -> tuple[str, ...]:
    """Compile a migration to SQL without a database; return its statements, without those of Alembic."""
    output = io.StringIO()
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(scripts))
    script = ScriptDirectory.from_config(config).get_revision(revision)
    command.upgrade(config, f"{script.down_revision or 'base'}:{revision}", sql=True)
    lines = (re.sub("^(--.*\n)+", "", text.strip()).strip() for text in output.getvalue().split(";\n"))
    return tuple(text for text in lines if text and "alembic_version" not in text and text not in {"BEGIN", "COMMIT"})


def violations(sql: Iterable[str]) -> list[str]:
    """Describe each statement of one migration that must not run beside the version before."""
    texts = list(sql)
    # Nobody else knows the tables that the migration itself creates.
    free = SMALL.keys() | {match[1] for text in texts if (match := _CREATED.match(text))}
    found = [f"{reason}: {text}" for text in texts if (reason := _violation(text, free))]
    concurrent = [text for text in texts if "CONCURRENTLY" in text or "VALIDATE CONSTRAINT" in text]
    others = [text for text in texts if text not in concurrent and not text.startswith("SET lock_timeout")]
    if concurrent and others:
        found.append(f"stands beside steps without a transaction, and is repeated after a crash: {others[0]}")
    locked = next((n for n, text in enumerate(texts) if (match := _TABLE.match(text)) and match[1] not in free), None)
    after = [] if locked is None else texts[locked:]
    changed = [text for text in after if (match := _CHANGED.match(text)) and match[1] not in free]
    return [*found, *(f"changes rows while a table is locked: {text}" for text in changed)]


def _violation(text: str, free: Iterable[str]) -> str | None:
    if (match := _INDEX.match(text)) and match[2] not in free:
        return None if match[1] else "builds an index under a lock"
    if re.match("DROP TABLE|TRUNCATE|CLUSTER|VACUUM FULL|REINDEX", text):
        return "removes or rewrites a table"
    if not (match := _TABLE.match(text)):
        return None
    table, alteration = match[1], match[2]
    if added := _ADDED.match(alteration):
        return _violation_of_column(added[2])
    for pattern, reason in _ALTERATIONS.items():
        if re.match(pattern, alteration, re.DOTALL) and (table not in free or "version before" in reason):
            return reason
    return None


def _violation_of_column(definition: str) -> str | None:
    if re.search("SERIAL|GENERATED", definition):
        return "rewrites the table for a column with generated values"
    if "DEFAULT" in definition:
        return None if _CONSTANT.search(definition) else "rewrites the table for a default that is no constant"
    if "NOT NULL" in definition:
        return "refuses the rows of the version before, which lacks the column"
    return None
