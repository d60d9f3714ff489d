import os

import pytest

from tests.chassis.postgres.site import take_lock
from ticketing.chassis.postgres import locks
from ticketing.chassis.postgres.locks import Mode


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


def test_several_hold_a_shared_lock(path):
    first = take_lock(path, Mode.SHARED)
    second = take_lock(path, Mode.SHARED)
    assert None not in {first, second}
    assert not locks.is_held_exclusively(path)
    os.close(first)
    os.close(second)


@pytest.mark.parametrize(("mine", "yours"), [(Mode.EXCLUSIVE, Mode.SHARED), (Mode.SHARED, Mode.EXCLUSIVE)])
def test_an_exclusive_lock_excludes_everybody_until_it_is_closed(path, mine, yours):
    held = take_lock(path, mine)
    assert locks.take(path, yours, wait_seconds=0.05) is None
    assert locks.is_held_exclusively(path) == (mine is Mode.EXCLUSIVE)
    os.close(held)
    freed = take_lock(path, yours)
    assert freed is not None
    os.close(freed)


def test_the_last_holder_can_change_to_exclusive(path):
    first = take_lock(path, Mode.SHARED)
    second = take_lock(path, Mode.SHARED)
    assert not locks.change(first, Mode.EXCLUSIVE)
    os.close(first)
    assert locks.change(second, Mode.EXCLUSIVE)
    os.close(second)


def test_a_lock_file_is_for_its_owner_alone(path):
    os.close(take_lock(path, Mode.SHARED))
    assert path.stat().st_mode & 0o777 == 0o600
