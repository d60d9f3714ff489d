"""Public keys: looked for before a token is called forged, and not for every stranger anew."""

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
async def keys(copy, clock) -> AsyncIterator[Keys]:
    database = Database(copy.url, "keys")
    made = Keys(database, clock)
    await made.load()
    yield made
    await database.close()


def new_key(key_id: int) -> dict[str, object]:
    public = bytes(SigningKey.generate().verify_key)
    return {"key_id": key_id, "public_key": public, "activate_time": NOW - DAY, "retire_time": None}


async def test_a_key_that_another_process_has_fetched_is_read(copy, keys, clock):
    copy.insert(signing_keys, **new_key(2))
    clock.advance(SECOND)
    await keys.look_for([1, 2])
    assert keys.get(2) is not None
    assert not keys.wanted.is_set()


async def test_whoever_looks_while_keys_are_being_read_waits_for_them(copy, keys, clock):
    clock.advance(SECOND)
    with copy.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE signing_keys")
        connection.execute(signing_keys.insert().values(**new_key(2)))
        first = asyncio.create_task(keys.look_for([2]))
        await until(lambda: copy.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        second = asyncio.create_task(keys.look_for([2]))
        await asyncio.sleep(0)
        assert not second.done()
    await asyncio.gather(first, second)
    assert keys.get(2) is not None
    assert not keys.wanted.is_set()


async def test_strangers_make_us_look_once_a_second(copy, keys, clock):
    clock.advance(SECOND)
    await keys.look_for([7])
    assert keys.wanted.is_set()
    copy.insert(signing_keys, **new_key(7))
    await keys.look_for([7])
    assert keys.get(7) is None
    clock.advance(SECOND)
    await keys.look_for([7])
    assert keys.get(7) is not None


async def test_a_key_may_be_lacking_until_the_ticket_service_was_asked_since(keys, clock):
    assert keys.may_lack(2, clock() - DAY)
    await keys.load(fetched=clock())
    assert not keys.may_lack(2, clock() - SECOND)
    assert keys.may_lack(2, clock() + SECOND)
    assert not keys.may_lack(1, clock() + SECOND)
