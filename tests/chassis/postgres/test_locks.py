import os

import pytest

from tests.chassis.postgres.site import take_lock
from ticketing.chassis.postgres import locks


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def test_a_lock_can_be_shared(path):
    first = take_lock(path, locks.SHARED)
    second = take_lock(path, locks.SHARED)
    assert not locks.is_exclusive(path)
    os.close(first)
    os.close(second)


@pytest.mark.parametrize(("first", "second"), [(locks.EXCLUSIVE, locks.SHARED), (locks.SHARED, locks.EXCLUSIVE)])
def test_an_exclusive_lock_excludes_others_until_it_is_closed(path, first, second):
    descriptor = take_lock(path, first)
    assert locks.take(path, second, wait_seconds=0.05) is None
    assert locks.is_exclusive(path) == (first == locks.EXCLUSIVE)
    os.close(descriptor)
    os.close(take_lock(path, second))


def test_only_the_last_shared_lock_can_become_exclusive(path):
    first = take_lock(path, locks.SHARED)
    second = take_lock(path, locks.SHARED)
    assert not locks.change(first, locks.EXCLUSIVE)
    os.close(first)
    assert locks.change(second, locks.EXCLUSIVE)
    os.close(second)


def test_only_the_owner_can_open_a_lock_file(path):
    os.close(take_lock(path, locks.SHARED))
    assert path.stat().st_mode & 0o777 == 0o600
