"""Tests of retired keys, which no publication of the ticket service makes valid again."""

from argparse import ArgumentTypeError
from datetime import UTC, timedelta

import pytest
from nacl.signing import SigningKey

from scan_service.commands.retire_keys import read_key_id, retire_named_keys
from tests.scanning.gates import NOW, token_of
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import signing_key_pb2

ADMITTED, INVALID_SIGNATURE = scan_pb2.VERDICT_ADMITTED, scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
HOUR = timedelta(hours=1)


def published(key: SigningKey, key_id: int = 1, retired=None) -> signing_key_pb2.SigningKey:
    message = signing_key_pb2.SigningKey(key_id=key_id, public_key=bytes(key.verify_key))
    message.activate_time.FromDatetime(NOW - HOUR)
    if retired is not None:
        message.retire_time.FromDatetime(retired)
    return message


async def publish(paired, tickets, *keys: signing_key_pb2.SigningKey) -> None:
    """Let the ticket service publish keys, and wait until the scan service has loaded them."""
    stand_in, _ = tickets
    stand_in.keys = list(keys)
    asked = stand_in.keys_asked
    [fetching] = [task.record for task in paired.app.health.tasks.running() if task.record.name == "signing_keys"]
    # The task that follows the feed fetches keys too. One of the two has fetched twice after three fetches, and its second
    # fetch begins after the keys of its first one are loaded, unless that one failed.
    while stand_in.keys_asked < asked + 3 or fetching.failures:
        # A token of an unknown key causes a fetch.
        paired.clock.advance(timedelta(seconds=2))
        await paired.scan(paired.event_id, token_of(SigningKey.generate(), paired.event_id, paired.event_id, key_id=99))


@pytest.fixture
def event_id(database, paired):
    paired.event_id = database.event()
    return paired.event_id


async def test_a_retired_key_stays_retired_whatever_the_feed_says(database, paired, tickets, event_id):
    leaked = database.key
    await publish(paired, tickets, published(leaked, retired=NOW - HOUR / 2))
    denied = await paired.scan(event_id, database.unknown(event_id).token)
    assert denied.denial_reason == INVALID_SIGNATURE
    # A restored tickets database contains the key without its retirement, or with a later one.
    for restored in (published(leaked), published(leaked, retired=NOW + HOUR)):
        await publish(paired, tickets, restored)
        assert (await paired.scan(event_id, database.unknown(event_id).token)).denial_reason == INVALID_SIGNATURE
    # It may also give the id to another key and the leaked key another id.
    other = SigningKey.generate()
    await publish(paired, tickets, published(other), published(leaked, key_id=2))
    database.key = other
    assert (await paired.scan(event_id, database.unknown(event_id).token)).verdict == ADMITTED
    token = token_of(leaked, event_id, event_id, key_id=2)
    assert (await paired.scan(event_id, token)).denial_reason == INVALID_SIGNATURE


async def test_the_earliest_retirement_counts(database, paired, tickets, event_id):
    await publish(paired, tickets, published(database.key, retired=NOW + 9 * HOUR))
    assert (await paired.scan(event_id, database.unknown(event_id).token)).verdict == ADMITTED
    await publish(paired, tickets, published(database.key, retired=NOW - HOUR / 2))
    [row] = database.rows("retired_keys")
    assert row["retire_time"].astimezone(UTC) == NOW - HOUR / 2


async def test_the_command_retires_a_key_that_the_ticket_service_lost(database, paired, tickets, event_id):
    lines: list[str] = []
    assert retire_named_keys(database.url, [1, 7], lines.append) == 1
    assert lines == ["retired: 1; gates deny their tokens within a minute", "unknown: 7"]
    [first] = database.rows("retired_keys")
    await publish(paired, tickets, published(SigningKey.generate(), key_id=3))
    assert (await paired.scan(event_id, database.unknown(event_id).token)).denial_reason == INVALID_SIGNATURE
    assert retire_named_keys(database.url, [1], lines.append) == 0
    assert database.rows("retired_keys") == [first]


def test_the_command_names_an_argument_that_is_no_key_id():
    with pytest.raises(ArgumentTypeError, match="'x' is not the id of a key"):
        read_key_id("x")
