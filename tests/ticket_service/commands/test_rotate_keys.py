"""Test changes of the signing keys while services run."""

import json
import logging
import stat
from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path

import pytest

from tests.processes.ticket_service import TicketProcess
from ticket_service.adapters.key_file import private_keys
from ticket_service.commands.rotate_keys import (
    read_key_id,
    retire,
    retire_keys,
    retire_named,
    rotate,
    rotate_keys,
)
from ticket_service.store.keys import all_keys
from ticket_service.use_cases.keys import PUBLISHED_AHEAD, SigningKeys
from ticketing.chassis.settings import SettingsError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "signing.json"


@pytest.fixture
def lines():
    return []


async def test_running_service_signs_with_a_new_key_after_ten_minutes(database, clock, path, lines):
    running = await SigningKeys.open(database, path, clock)
    assert await rotate(database, path, clock, lines.append) == 0
    assert "key 2 signs from" in lines[0]
    await running.sweep()
    assert running.signer().key_id == 1
    published = (await database.run(all_keys))[1]
    assert published.activate_time == clock.now + PUBLISHED_AHEAD
    clock.advance(PUBLISHED_AHEAD)
    assert running.signer().key_id == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_old_key_is_retired_only_after_the_new_one_signs(database, clock, path, lines):
    running = await SigningKeys.open(database, path, clock)
    old = private_keys(path)[0]
    await rotate(database, path, clock, lines.append)
    assert await retire(database, path, clock, lines.append) == 1
    assert lines[-1] == "key 1 still signs; wait for the new one"
    assert [key.retire_time for key in await database.run(all_keys)] == [None, None]
    clock.advance(PUBLISHED_AHEAD)
    assert await retire(database, path, clock, lines.append) == 0
    assert lines[-1].startswith("retired: 1;")
    assert [key.retire_time for key in await database.run(all_keys)] == [clock.now, None]
    # The file no longer contains a key that may have leaked.
    assert old not in private_keys(path)
    await running.sweep()
    assert running.signer().key_id == 2
    assert await retire(database, path, clock, lines.append) == 0
    assert lines[-1].startswith("retired: none;")


async def test_named_keys_are_retired_wherever_their_file_is(database, clock, path, tmp_path, lines):
    other = tmp_path / "other" / "signing.json"
    await SigningKeys.open(database, other, clock)
    await SigningKeys.open(database, path, clock)
    clock.advance(PUBLISHED_AHEAD)
    assert await retire_named(database, path, {1}, clock, lines.append) == 0
    assert lines == ["retired: 1; gates deny their tokens within a minute"]
    retired = clock.now
    assert [key.retire_time for key in await database.run(all_keys)] == [retired, None]
    clock.advance(PUBLISHED_AHEAD)
    assert await retire_named(database, path, {1}, clock, lines.append) == 0
    assert (await database.run(all_keys))[0].retire_time == retired
    # The file of this host still signs; that of the other host has no valid key.
    assert (await SigningKeys.open(database, path, clock)).signer().key_id == 2


async def test_a_named_key_that_signs_or_is_unknown_retires_nothing(database, clock, path, lines):
    await SigningKeys.open(database, path, clock)
    await rotate(database, path, clock, lines.append)
    clock.advance(PUBLISHED_AHEAD)
    assert await retire_named(database, path, {1, 2}, clock, lines.append) == 1
    assert lines[-1] == "key 2 still signs; run rotate-keys and wait for the new one"
    assert await retire_named(database, path, {1, 9}, clock, lines.append) == 1
    assert "this database has no key 9; try `python -m scan_service retire-keys 9`" in lines[-1]
    assert [key.retire_time for key in await database.run(all_keys)] == [None, None]


@pytest.mark.parametrize("text", ["", "x", "-1", "\uff11"])
def test_an_argument_that_is_no_key_id_is_named(text):
    with pytest.raises(ArgumentTypeError, match="is not the id of a key"):
        read_key_id(text)


async def test_other_hosts_keep_their_keys(database, clock, path, tmp_path, lines):
    other = tmp_path / "other" / "signing.json"
    await SigningKeys.open(database, other, clock)
    await rotate(database, path, clock, lines.append)
    clock.advance(PUBLISHED_AHEAD + timedelta(seconds=1))
    await retire(database, path, clock, lines.append)
    assert (await SigningKeys.open(database, other, clock)).signer().key_id == 1


async def test_running_service_keeps_its_keys_when_the_file_breaks(database, clock, path):
    running = await SigningKeys.open(database, path, clock)
    seed = json.loads(path.read_text())["seeds"][0]
    path.write_text(f'{{"seeds": ["{seed}"')
    with pytest.raises(SettingsError) as broken:
        await running.sweep()
    assert seed not in str(broken.value) + repr(broken.value.__cause__)
    assert running.signer().key_id == 1


async def test_readable_key_file_is_restricted_to_its_owner(database, clock, path, caplog):
    await SigningKeys.open(database, path, clock)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        await SigningKeys.open(database, path, clock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "others could read" in caplog.text


@pytest.mark.slow
def test_key_commands_run_beside_a_service_and_print_no_secret(environment_of, tickets_url, monkeypatch, capsys):
    variables = environment_of(TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with TicketProcess(variables) as process:
        assert rotate_keys(tickets_url) == 0
        assert retire_keys(tickets_url) == 1
        assert process.end() == 0
    path = Path(variables["TICKETING_DATA_DIR"]) / "keys" / "signing.json"
    seeds = json.loads(path.read_text())["seeds"]
    assert len(seeds) == 2
    output = capsys.readouterr().out + process.log()
    assert "key 2 signs from" in output
    assert not any(seed.rstrip("=") in output for seed in seeds)
