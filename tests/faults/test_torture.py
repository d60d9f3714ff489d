"""A short run of the torture breaks no promise; and without one of its guards, a service breaks one."""

import os
from pathlib import Path

import pytest

from tests.faults.guards import GUARDS
from tests.faults.torture import Torture

# On a busy machine the processes take a minute to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEED = 1
SECONDS = 10
CONTROL_SECONDS = 8
# Each control takes half a minute: `make test` removes one guard, and `TORTURE_GUARDS=all` each of them.
RUNS_ALL = os.environ.get("TORTURE_GUARDS") == "all"


def test_no_promise_breaks_under_fire(tmp_path: Path):
    result = Torture(tmp_path, SEED, SECONDS).run()
    print(result)
    assert result.violations == []


@pytest.mark.parametrize("guard", GUARDS if RUNS_ALL else ["ticket-lock"])
def test_a_run_without_a_guard_finds_the_broken_promise(guard: str, tmp_path: Path):
    seconds = 4 * CONTROL_SECONDS if GUARDS[guard].faults else CONTROL_SECONDS
    result = Torture(tmp_path, SEED, seconds, without=guard).run()
    assert any(GUARDS[guard].violation in one for one in result.violations), result
