import resource
import subprocess
import sys

import pytest

from tests.environment import ROOT
from ticketing.chassis.file_limit import WANTED_FILES

pytestmark = pytest.mark.slow

LIMITS = "resource.getrlimit(resource.RLIMIT_NOFILE)"


def raised(soft: int, hard: int) -> int:
    """Return the soft limit of a process that started with these limits and raised it."""
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        f" from ticketing.chassis.file_limit import raise_file_limit; raise_file_limit(); print({LIMITS}[0])"
    )
    return int(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True))


def test_the_limit_is_raised_to_the_wanted_number() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < WANTED_FILES:
        pytest.skip("this machine allows no more")
    assert raised(256, hard) == WANTED_FILES


def test_a_lower_hard_limit_bounds_the_raise() -> None:
    assert raised(256, 300) == 300


def test_a_higher_limit_is_kept() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard <= WANTED_FILES:
        pytest.skip("this machine allows no more")
    assert raised(WANTED_FILES + 1, hard) == WANTED_FILES + 1
