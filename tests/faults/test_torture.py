"""A short run of the torture breaks no promise; and without one of its guards, a service breaks one."""

import os
import subprocess
import sys

import pytest

from deploy.patroni.cluster import missing_packages
from tests.environment import ROOT
from tests.faults.database import PATRONI, STANDBY
from tests.faults.guards import GUARDS

# On a busy machine the processes take a minute to start.
RUN_SECONDS = 380
pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_SECONDS + 20)]

SECONDS = 10
CONTROL_SECONDS, FAULTY_CONTROL_SECONDS = 8, 30
# Each control takes half a minute: `make test` removes one guard, and `TORTURE_GUARDS=all` each of them.
RUNS_ALL = os.environ.get("TORTURE_GUARDS") == "all"


def torture(*words: object) -> tuple[int, str]:
    """Run the command; return its exit status and its output."""
    command = [sys.executable, "-m", "tests.faults", *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout


def test_no_promise_breaks_under_fire():
    status, output = torture("--seconds", SECONDS, 1)
    assert status == 0, output


@pytest.mark.skipif(not RUNS_ALL, reason="a run of minutes: `TORTURE_GUARDS=all` runs it")
@pytest.mark.parametrize("servers", [STANDBY, PATRONI])
def test_no_promise_breaks_while_another_server_takes_over(servers: str):
    if servers == PATRONI and (missing := missing_packages()):
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")
    status, output = torture("--seconds", FAULTY_CONTROL_SECONDS, "--servers", servers, 1)
    assert status == 0, output


@pytest.mark.parametrize("guard", GUARDS if RUNS_ALL else ["revocation"])
def test_a_run_without_a_guard_finds_the_broken_promise(guard: str):
    seconds = FAULTY_CONTROL_SECONDS if GUARDS[guard].faults else CONTROL_SECONDS
    status, output = torture("--seconds", seconds, "--without", guard, 1)
    assert status == 1
    assert GUARDS[guard].violation in output, output
