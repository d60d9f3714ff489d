"""The pair on the Patroni cluster of `deploy/patroni`, while it fails over under load."""

from pathlib import Path

import pytest

from benchmarks.failover_clients import Work
from benchmarks.failovers import FAULTS, check, running_trial
from deploy.patroni.cluster import missing_packages

MISSING = missing_packages()
# A leader that vanished is replaced within `ttl` of deploy/patroni/node.yml; the machine of the test may be busy.
MAX_SECONDS = 60


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {', '.join(MISSING)}")
def test_failovers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with running_trial(tmp_path, loop_seconds=1, steady_seconds=1) as trial:
        for name in ("switchover", "kill-postgres"):
            found = trial.suffer(FAULTS[name])
            print(found)
            assert max(found.gaps.values()) < MAX_SECONDS
        trial.clients.stop()
        assert check(trial) == []
        assert all(trial.clients.record.times[work] for work in Work)
