import resource
import subprocess
import sys

import pytest

from tests.environment import ROOT
from ticketing.chassis.file_limit import WANTED_FILES

LIMITS = "resource.getrlimit(resource.RLIMIT_NOFILE)"


def raised(soft: int, hard: int) -> int:
    """Return the soft limit of a process that began with these and raised it."""
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        f" from ticketing.chassis.file_limit import raise_file_limit; raise_file_limit(); print({LIMITS}[0])"
    )
    return int(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True))


def test_the_limit_is_raised_as_far_as_is_wanted() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < WANTED_FILES:
        pytest.skip("this machine allows no more")
    assert raised(256, hard) == WANTED_FILES


def test_where_less_is_allowed_the_limit_is_that() -> None:
    assert raised(256, 300) == 300


def test_more_than_is_wanted_is_left() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard <= WANTED_FILES:
        pytest.skip("this machine allows no more")
    assert raised(WANTED_FILES + 1, hard) == WANTED_FILES + 1
