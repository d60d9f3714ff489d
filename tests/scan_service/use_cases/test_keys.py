"""Tests of the cached public keys: a missing key is read before a token counts as forged, at a bounded rate."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from nacl.signing import SigningKey

from scan_service.store.tables import signing_keys
from scan_service.use_cases.keys import Keys
from tests.environment.clock import SettableClock
from tests.environment.waiting import until
from tests.scanning.gates import DAY, NOW
from ticketing.chassis.database import Database

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def keys(database, clock) -> AsyncIterator[Keys]:
    pool = Database(database.url, "keys")
    made = Keys(pool, clock)
    await made.load()
    yield made
    await pool.close()


def new_key(key_id: int) -> dict[str, object]:
    public = bytes(SigningKey.generate().verify_key)
    return {"key_id": key_id, "public_key": public, "activate_time": NOW - DAY, "retire_time": None}


async def test_a_key_that_another_process_has_fetched_is_read(database, keys, clock):
    database.insert(signing_keys, **new_key(2))
    clock.advance(SECOND)
    await keys.load_missing([1, 2])
    assert keys.get(2) is not None
    assert not keys.missing.is_set()


async def test_a_lookup_joins_the_read_in_progress(database, keys, clock):
    clock.advance(SECOND)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE signing_keys")
        connection.execute(signing_keys.insert().values(**new_key(2)))
        first = asyncio.create_task(keys.load_missing([2]))
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        second = asyncio.create_task(keys.load_missing([2]))
        await asyncio.sleep(0)
        assert not second.done()
    await asyncio.gather(first, second)
    assert keys.get(2) is not None
    assert not keys.missing.is_set()


async def test_unknown_keys_cause_one_query_a_second(database, keys, clock):
    clock.advance(SECOND)
    await keys.load_missing([7])
    assert keys.missing.is_set()
    database.insert(signing_keys, **new_key(7))
    await keys.load_missing([7])
    assert keys.get(7) is None
    clock.advance(SECOND)
    await keys.load_missing([7])
    assert keys.get(7) is not None


async def test_a_key_may_be_missing_until_keys_are_fetched(keys, clock):
    assert keys.may_be_missing(2, clock() - DAY)
    await keys.load(fetched=clock())
    assert not keys.may_be_missing(2, clock() - SECOND)
    assert keys.may_be_missing(2, clock() + SECOND)
    assert not keys.may_be_missing(1, clock() + SECOND)
