"""Tests of the cached public keys: a missing key is read before a token counts as forged, at a bounded rate."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from unittest.mock import Mock

import pytest
from nacl.signing import SigningKey

from scan_service.store.admission import LockedRows
from scan_service.store.tables import signing_keys
from scan_service.use_cases.keys import Keys
from scan_service.use_cases.ticket_lookup import TicketLookup
from tests.environment.access import CODE_SECRET
from tests.environment.clock import SettableClock
from tests.environment.waiting import until
from tests.scanning.cases import EVENT
from tests.scanning.gates import DAY, NOW, token_of
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, DenialReason, Gate, OfflineDecision, ScanType, Verdict
from ticketing.admission.tokens import read_token
from ticketing.chassis.database import Database

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def keys(database, clock) -> AsyncIterator[Keys]:
    pool = Database(database.url, "keys")
    made = Keys(pool, clock)
    made.report_missing = Mock()
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
    assert keys.cached.get(2) is not None
    keys.report_missing.assert_not_called()


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
    assert keys.cached.get(2) is not None
    keys.report_missing.assert_not_called()


async def test_unknown_keys_cause_one_query_a_second(database, keys, clock):
    clock.advance(SECOND)
    await keys.load_missing([7])
    keys.report_missing.assert_called_once()
    database.insert(signing_keys, **new_key(7))
    await keys.load_missing([7])
    assert keys.cached.get(7) is None
    clock.advance(SECOND)
    await keys.load_missing([7])
    assert keys.cached.get(7) is not None


async def test_a_key_may_be_missing_until_keys_are_fetched(keys, clock):
    assert keys.cached.may_be_missing(2, clock() - DAY)
    await keys.load(fetched=clock())
    assert not keys.cached.may_be_missing(2, clock() - SECOND)
    assert keys.cached.may_be_missing(2, clock() + SECOND)
    assert not keys.cached.may_be_missing(1, clock() + SECOND)


async def test_one_lookup_uses_the_keys_of_one_moment(database, keys, clock):
    """A key that arrives between two steps of a batch must not turn a genuine token into a forged one."""
    signer, event_id = SigningKey.generate(), uuid.uuid4()
    attempt = uploaded(token_of(signer, event_id, uuid.uuid4(), key_id=2), event_id, clock())
    rows = LockedRows(clock(), events={event_id: replace(EVENT, event_id=event_id)})
    lookup = TicketLookup(rows, keys.cached, Codes(CODE_SECRET), clock())
    assert lookup.find_unknown([attempt]) == []
    database.insert(signing_keys, **new_key(2) | {"public_key": bytes(signer.verify_key)})
    await keys.load(fetched=clock())
    assert lookup.find(attempt) is DenialReason.INVALID_SIGNATURE
    assert lookup.may_be_genuine(attempt)


def uploaded(token: str, event_id: uuid.UUID, scan_time: datetime) -> Attempt:
    return Attempt(
        scan_id=uuid.uuid4(),
        gate=Gate(event_id, "North 3", frozenset()),
        text=token,
        credential=read_token(token),
        scan_type=ScanType.CHECK_IN,
        scanner_user_id="sam",
        organizer_id=None,
        metadata={},
        offline=OfflineDecision(Verdict.ADMITTED, None, scan_time, None),
    )
