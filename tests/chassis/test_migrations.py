"""Migrations beside processes that serve, and databases that a program does not migrate."""

import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2.errors import UniqueViolation
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from tests.environment import ROOT
from tests.environment.databases import connected, execute, read_value
from tests.environment.waiting import eventually
from ticketing.chassis import migrations as module
from ticketing.chassis.connections import connect
from ticketing.chassis.database_checks import UnsuitableDatabaseError
from ticketing.chassis.migrations import migrate

FIRST = """
revision = "0001"
down_revision = None
own_table = "things"

def upgrade():
    op.execute("CREATE TABLE things (name text, size int)")
"""
COLUMN = """
revision = "0002"
down_revision = "0001"

def upgrade():
    op.execute("ALTER TABLE things ADD COLUMN colour text")
"""
INDEX = """
revision = "0003"
down_revision = "0002"

def upgrade():
    build_index("things_name_ix", "things", ["name"], unique=True, where="size > 0")
"""
IMPORTS = "from alembic import op\nfrom ticketing.chassis.migration_steps import build_index\n"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'"

Scripts = Callable[..., Path]


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """Write migrations; return their folder."""

    def write(*texts: str) -> Path:
        folder = tmp_path / uuid.uuid4().hex
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text((ROOT / "tests" / "chassis" / "toy" / "migrations" / "env.py").read_text())
        for number, text in enumerate(texts, start=1):
            (folder / "versions" / f"{number:04}.py").write_text(IMPORTS + text)
        return folder

    return write


@pytest.fixture
def empty_url(url: URL) -> URL:
    """Return the URL of a database without tables."""
    target, maintenance = url.set(database="migrations"), url.set(database="postgres")
    execute(maintenance, f"DROP DATABASE IF EXISTS {target.database} WITH (FORCE)")
    execute(maintenance, f"CREATE DATABASE {target.database}")
    return target


@contextmanager
def transaction(url: URL, statement: str) -> Iterator[None]:
    """Keep a transaction open that has executed `statement`."""
    connection = connect(url, "tests")
    connection.cursor().execute(statement)
    try:
        yield
    finally:
        connection.close()


def revision(url: URL) -> object:
    return read_value(url, "SELECT version_num FROM alembic_version")


def test_a_start_logs_that_it_has_migrated(empty_url: URL, scripts: Scripts, caplog: pytest.LogCaptureFixture) -> None:
    migrate(empty_url, scripts(FIRST))
    # Another test may have made the loggers of this process speak.
    caplog.clear()
    with caplog.at_level(logging.INFO):
        migrate(empty_url, scripts(FIRST, COLUMN))
        migrate(empty_url, scripts(FIRST, COLUMN))
    (line,) = [one for one in caplog.records if one.getMessage() == "the database is migrated"]
    assert (vars(line)["from_revision"], vars(line)["revision"]) == ("0001", "0002")


def test_a_start_without_a_migration_imports_no_alembic(empty_url: URL, scripts: Scripts) -> None:
    folder = scripts(FIRST, COLUMN)
    migrate(empty_url, folder)
    program = (
        "import pathlib, sys; from ticketing.chassis.connections import database_url;"
        "from ticketing.chassis.migrations import migrate;"
        "migrate(database_url(sys.argv[1]), pathlib.Path(sys.argv[2]));"
        "print('alembic' in sys.modules)"
    )
    arguments = [empty_url.render_as_string(hide_password=False), str(folder)]
    assert subprocess.check_output([sys.executable, "-c", program, *arguments], cwd=ROOT, text=True).strip() == "False"


def test_a_program_serves_on_a_newer_schema(empty_url: URL, scripts: Scripts, caplog: pytest.LogCaptureFixture) -> None:
    migrate(empty_url, scripts(FIRST, COLUMN))
    with caplog.at_level(logging.WARNING):
        migrate(empty_url, scripts(FIRST))
    assert revision(empty_url) == "0002"
    assert "newer than this program" in caplog.text


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = 'ae1027a6acf'", "unknown revision ae1027a6acf"),
        ("UPDATE alembic_version SET version_num = '0000'", "unknown revision 0000"),
        ("INSERT INTO alembic_version VALUES ('0001')", "damaged: alembic_version has the revisions 0001, 0002"),
        ("DELETE FROM alembic_version", "damaged: it has the table things"),
        ("ALTER TABLE things RENAME TO purchases", "belongs to another program: it has the revision 0002"),
    ],
)
def test_a_damaged_or_foreign_database_is_refused(
    empty_url: URL, scripts: Scripts, statement: str, message: str
) -> None:
    migrate(empty_url, scripts(FIRST, COLUMN))
    execute(empty_url, statement)
    for newest in ([COLUMN], [COLUMN, INDEX]):
        with pytest.raises(UnsuitableDatabaseError, match=message) as caught:
            migrate(empty_url, scripts(FIRST, *newest))
    assert "\n" not in str(caught.value)


def test_a_migration_that_waits_for_a_lock_lets_others_pass(
    empty_url: URL, scripts: Scripts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMITS", {**module.LIMITS, "lock_timeout": 300})
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.1)
    migrate(empty_url, scripts(FIRST))
    with ThreadPoolExecutor(1) as thread, caplog.at_level(logging.WARNING):
        with transaction(empty_url, "SELECT FROM things"):
            migration = thread.submit(migrate, empty_url, scripts(FIRST, COLUMN))
            eventually(lambda: read_value(empty_url, WAITING.format(empty_url.database)))
            # This statement queues behind the migration, and passes once the migration gives up.
            execute(empty_url, "INSERT INTO things VALUES ('a', 1)")
            assert not migration.done()
            eventually(lambda: "did not get a lock" in caplog.text)
        migration.result()
    assert revision(empty_url) == "0002"
    oldest = [vars(record).get("oldest_transactions") for record in caplog.records]
    assert "process" in str(next(filter(None, oldest)))


def test_a_migration_that_never_gets_its_lock_stops_the_start(
    empty_url: URL, scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMITS", {**module.LIMITS, "lock_timeout": 50})
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    migrate(empty_url, scripts(FIRST))
    with (
        transaction(empty_url, "SELECT FROM things"),
        pytest.raises(UnsuitableDatabaseError, match="did not get its locks in 2 tries"),
    ):
        migrate(empty_url, scripts(FIRST, COLUMN))


def test_an_index_is_built_while_rows_are_written(empty_url: URL, scripts: Scripts) -> None:
    migrate(empty_url, scripts(FIRST, COLUMN))
    with ThreadPoolExecutor(1) as thread:
        with transaction(empty_url, "INSERT INTO things VALUES ('a', 1)"):
            # The build waits for the transaction above, and blocks no other.
            migration = thread.submit(migrate, empty_url, scripts(FIRST, COLUMN, INDEX))
            eventually(lambda: read_value(empty_url, WAITING.format(empty_url.database)))
            execute(empty_url, "INSERT INTO things VALUES ('b', 1)")
        migration.result()
    assert revision(empty_url) == "0003"
    with pytest.raises(UniqueViolation):
        execute(empty_url, "INSERT INTO things VALUES ('b', 1)")


def test_an_index_whose_build_failed_is_built_anew(empty_url: URL, scripts: Scripts) -> None:
    migrate(empty_url, scripts(FIRST, COLUMN))
    execute(empty_url, "INSERT INTO things VALUES ('a', 1), ('a', 1)")
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name_ix'::regclass"
    with pytest.raises(IntegrityError):
        migrate(empty_url, scripts(FIRST, COLUMN, INDEX))
    assert read_value(empty_url, valid) is False
    execute(empty_url, "UPDATE things SET name = 'b' WHERE ctid = (SELECT min(ctid) FROM things)")
    migrate(empty_url, scripts(FIRST, COLUMN, INDEX))
    assert read_value(empty_url, valid) is True


def test_an_index_that_exists_is_kept(empty_url: URL, scripts: Scripts) -> None:
    """Databases of the versions between two releases have some indexes from earlier migrations."""
    migrate(empty_url, scripts(FIRST, COLUMN))
    execute(empty_url, "CREATE UNIQUE INDEX things_name_ix ON things (name) WHERE size > 0")
    number = "SELECT 'things_name_ix'::regclass::oid"
    before = read_value(empty_url, number)
    migrate(empty_url, scripts(FIRST, COLUMN, INDEX))
    assert read_value(empty_url, number) == before


def test_concurrent_starts_build_an_index_once(empty_url: URL, scripts: Scripts) -> None:
    """A start that waits for the migration of another is no transaction, for which the build would wait."""
    folder = scripts(FIRST, COLUMN, INDEX)
    with ThreadPoolExecutor(4) as threads:
        meeting = threading.Barrier(4)

        def start(_: int) -> None:
            meeting.wait(10)
            migrate(empty_url, folder)

        list(threads.map(start, range(4)))
    assert revision(empty_url) == "0003"


def test_a_killed_migration_continues(empty_url: URL, scripts: Scripts) -> None:
    migrate(empty_url, scripts(FIRST, COLUMN))
    with ThreadPoolExecutor(1) as thread:
        with transaction(empty_url, "INSERT INTO things VALUES ('a', 1)"):
            migration = thread.submit(migrate, empty_url, scripts(FIRST, COLUMN, INDEX))
            eventually(lambda: read_value(empty_url, WAITING.format(empty_url.database)))
            with connected(empty_url) as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'migration'"
                )
        with pytest.raises(UnsuitableDatabaseError, match="start again, and the migration continues"):
            migration.result()
    migrate(empty_url, scripts(FIRST, COLUMN, INDEX))
    assert read_value(empty_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_name_ix'::regclass")
