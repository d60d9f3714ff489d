import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ticket_service.store.keys import all_keys
from ticket_service.store.tables import signing_keys
from ticket_service.use_cases.keys import PUBLISHED_AHEAD, SigningKeys
from ticketing.chassis.settings import SettingsError


def key_file(directory: Path, *seeds: bytes) -> Path:
    path = directory / "signing.json"
    path.write_text(json.dumps({"seeds": [base64.b64encode(seed * 32).decode() for seed in seeds]}))
    return path


async def test_the_first_key_signs_at_once(database, clock, tmp_path):
    keys = await SigningKeys.open(database, tmp_path / "signing.json", clock)
    [public] = await database.run(all_keys)
    signer = keys.signer()
    assert (public.key_id, public.activate_time, public.retire_time) == (1, clock.now, None)
    assert (signer.key_id, bytes(signer.private_key.verify_key)) == (1, public.public_key)


async def test_a_key_keeps_its_id_after_a_restart(database, clock, tmp_path):
    path = key_file(tmp_path, b"a")
    first = await SigningKeys.open(database, path, clock)
    clock.advance(timedelta(days=1))
    again = await SigningKeys.open(database, path, clock)
    assert again.signer() == first.signer()
    assert len(await database.run(all_keys)) == 1


async def test_a_further_key_is_published_ten_minutes_before_it_signs(database, clock, tmp_path):
    await SigningKeys.open(database, key_file(tmp_path, b"a"), clock)
    keys = await SigningKeys.open(database, key_file(tmp_path, b"a", b"b"), clock)
    assert [key.activate_time for key in await database.run(all_keys)] == [clock.now, clock.now + PUBLISHED_AHEAD]
    assert keys.signer().key_id == 1
    clock.advance(PUBLISHED_AHEAD - timedelta(microseconds=1))
    assert keys.signer().key_id == 1
    clock.advance(timedelta(microseconds=1))
    assert keys.signer().key_id == 2


async def test_hosts_that_start_together_get_different_key_ids(database, clock, tmp_path):
    hosts = [tmp_path / f"host{number}" for number in range(6)]
    for host in hosts:
        host.mkdir()
    opened = await asyncio.gather(*(SigningKeys.open(database, host / "signing.json", clock) for host in hosts))
    assert sorted(keys.signer().key_id for keys in opened) == [1, 2, 3, 4, 5, 6]


async def test_a_retired_key_never_signs(database, clock, tmp_path):
    path = key_file(tmp_path, b"a", b"b")
    await SigningKeys.open(database, path, clock)
    clock.advance(PUBLISHED_AHEAD)
    retire = sa.update(signing_keys).values(retire_time=clock.now)
    await database.run(lambda connection: connection.execute(retire.where(signing_keys.c.key_id == 2)))
    assert (await SigningKeys.open(database, path, clock)).signer().key_id == 1
    await database.run(lambda connection: connection.execute(retire))
    with pytest.raises(SettingsError, match=r"signing\.json is retired"):
        await SigningKeys.open(database, path, clock)


async def test_a_new_key_signs_at_once_if_the_old_one_is_retired(database, clock, tmp_path):
    await SigningKeys.open(database, key_file(tmp_path, b"a"), clock)
    retire = sa.update(signing_keys).values(retire_time=clock.now)
    await database.run(lambda connection: connection.execute(retire))
    assert (await SigningKeys.open(database, key_file(tmp_path, b"a", b"b"), clock)).signer().key_id == 2


async def test_a_host_with_a_slow_clock_has_a_key(database, clock, tmp_path):
    path = key_file(tmp_path, b"a")
    await SigningKeys.open(database, path, clock)
    clock.advance(-timedelta(seconds=2))
    assert (await SigningKeys.open(database, path, clock)).signer().key_id == 1
