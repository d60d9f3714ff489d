"""A short run of the torture: no promise breaks while processes, networks, the database and the provider fail."""

from pathlib import Path

import pytest

from tests.faults.torture import Torture

# On a busy machine the processes take a minute to start.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEED = 1
SECONDS = 10


def test_no_promise_breaks_under_fire(tmp_path: Path):
    result = Torture(tmp_path, SEED, SECONDS).run()
    print(result)
    assert result.violations == []
