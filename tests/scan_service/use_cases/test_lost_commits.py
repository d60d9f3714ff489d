"""Tests that the service finds lost commits by itself: a restore, a failover, and a device that is ahead."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from scan_service.domain.recoveries import Cause, SeenServer, find_lost_commits
from scan_service.domain.write_ahead_log import LogPlace, ServerLog
from scan_service.store.tables import feed, recoveries
from tests.environment.databases import NewDatabase
from tests.environment.waiting import until
from tests.scanning.gates import Device, ScansDatabase, running_service
from tests.scanning.restores import back_up, restore
from ticketing.scans.v1 import scan_service_pb2 as pb

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


def counted(evidence: str) -> float:
    return REGISTRY.get_sample_value("ticketing_lost_commits_total", {"evidence": evidence}) or 0.0


@pytest.mark.parametrize(
    ("last", "next_transaction", "cause"),
    [
        (None, 10, None),
        ("a", 10, None),
        ("a", 9, Cause.TRANSACTIONS),
        ("b", 10, Cause.SERVER),
    ],
)
def test_lost_commits_show_in_the_server_and_in_its_transactions(last, next_transaction, cause):
    assert find_lost_commits(SeenServer("a", next_transaction, last, NOON, ServerLog()), 10) is cause


@pytest.mark.parametrize(
    ("last", "promoted_at", "is_promoted"),
    [
        ("1/0000000A/5", 70, True),
        # The server was started since.
        ("1/0000000A/5", None, False),
        # Nothing shows what the failovers between have lost.
        ("1/00000009/5", 70, False),
        ("1/0000000B/5", 70, False),
        # A dump was restored on a promoted server.
        ("2/0000000A/5", 70, False),
        ("1/0000000A/6", 70, False),
    ],
)
def test_one_promotion_of_a_standby_shows(last, promoted_at, is_promoted):
    seen = SeenServer("1/0000000B/5", 10, last, NOON, ServerLog(LogPlace(11, 90), promoted_at))
    assert seen.is_promoted is is_promoted


HERE = LogPlace(11, 90)


@pytest.mark.parametrize(
    ("log", "read", "has"),
    [
        (ServerLog(HERE), LogPlace(11, 95), True),
        (ServerLog(HERE, 70), LogPlace(11, 95), True),
        (ServerLog(HERE, 70), LogPlace(10, 70), True),
        (ServerLog(HERE, 70), LogPlace(10, 71), False),
        (ServerLog(HERE, 70), LogPlace(9, 5), False),
        (ServerLog(HERE), LogPlace(10, 5), False),
        # A restore to a point in time.
        (ServerLog(HERE, 70), LogPlace(12, 5), False),
        # An earlier version has read it.
        (ServerLog(HERE), None, True),
        (ServerLog(HERE, 70), None, False),
        (ServerLog(None, 70), LogPlace(11, 95), True),
    ],
)
def test_a_promoted_server_has_what_it_replayed_before(log, read, has):
    assert log.has(read) is has


async def test_a_second_failover_asks_for_the_time_since_the_first(database, service):
    """All devices have answered, so none is asked again for a whole day."""
    await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
    database.update(feed, server="1/00000001/5")
    await until(lambda: database.value("SELECT count(*) FROM recoveries") == 1)
    database.update(recoveries, check_ins_time=NOON, devices_time=NOON, since_time=NOON - timedelta(days=9000))
    database.update(feed, server="1/00000001/5")
    await until(lambda: database.value("SELECT count(*) FROM recoveries") == 2)
    assert database.value("SELECT since_time > now() - interval '1 minute' FROM recoveries WHERE close_time IS NULL")
    # The ticket service has not answered.
    database.update(recoveries, since_time=NOON - timedelta(days=9000))
    database.update(feed, server="1/00000001/5")
    await until(lambda: database.value("SELECT count(*) FROM recoveries") == 3)
    assert database.value("SELECT since_time < '2010-01-01' FROM recoveries WHERE close_time IS NULL")


async def test_the_service_stores_where_it_has_seen_the_database(database, service):
    await until(lambda: database.value("SELECT seen_time > now() - interval '1 minute' FROM feed"))
    assert database.value("SELECT count(*) FROM recoveries") == 0


async def test_a_dump_in_another_database_begins_a_recovery_since_the_dump(
    database, settings, issuer, new_database: NewDatabase
):
    event_id = database.event()
    shown = database.ticket(event_id)
    async with running_service(settings, database.url, issuer) as before:
        await until(lambda: database.value("SELECT seen_time IS NOT NULL FROM feed"))
        seen = database.value("SELECT seen_time FROM feed")
        backup = back_up(database.url)
        epoch = database.value("SELECT changes_epoch FROM feed")
        lost = await before.scan(event_id, shown.token)
    url = new_database("scan")
    restore(url, backup)
    other = OpenDatabase(url)
    before_count = counted("SERVER")
    async with running_service(settings, url, issuer) as after:
        await until(lambda: other.value("SELECT count(*) FROM recoveries") == 1)
        [recovery] = other.rows("recoveries")
        assert (recovery["cause"], recovery["close_time"]) == ("SERVER", None)
        assert recovery["since_time"] >= seen
        assert recovery["since_time"] < lost.scan_time.ToDatetime(tzinfo=UTC)
        assert other.value("SELECT changes_epoch FROM feed") != epoch
        await until(lambda: counted("SERVER") == before_count + 1)
        # A gate that opens is asked for its scans.
        device = Device(after)
        asked = (await device.open(event_id)).resend
        assert asked.recovery_id == str(recovery["recovery_id"])
        assert asked.since_time.ToDatetime(tzinfo=UTC) == recovery["since_time"] - timedelta(minutes=1)
    other.engine.dispose()


class OpenDatabase(ScansDatabase):
    """A database with rows already."""

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(self.url)


async def test_open_streams_are_asked_when_a_recovery_begins(database, service):
    event_id = database.event()
    device = Device(service)
    await device.open(event_id)
    await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
    database.update(feed, server="1/00000001/5")
    assert (await device.receive()).WhichOneof("message") == "resend"
    # The stream goes on.
    assert (await device.scan("nothing")).scan_id


async def test_rows_of_another_servers_transactions_reach_devices(database, service):
    """After a dump is restored, `changed_by` may be in the future of the new server."""
    event_id = database.event()
    for _ in range(3):
        database.ticket(event_id, changed_by=2**40)
    await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
    database.update(feed, server="1/00000001/5")
    await until(lambda: database.value("SELECT count(*) FROM recoveries") == 1)
    assert database.value("SELECT count(*) FROM tickets WHERE changed_by = 0") == 3
    first = await first_changes(service, event_id, "")
    assert len(first.tickets) == 3


async def test_a_device_that_is_ahead_of_the_database_begins_anew(database, service, caplog):
    """A recovery did not run: the cursor names transactions that the restored server has not reached."""
    event_id = database.event()
    shown = database.ticket(event_id)
    first = await first_changes(service, event_id, "")
    epoch, horizon = first.cursor.partition("@")[0].split(":")
    before = counted("CURSOR")
    # Transaction ids are compared as 64-bit numbers.
    for ahead in (int(horizon) + 1_000_000, 2**32 + int(horizon), 2**62):
        changes = await first_changes(service, event_id, f"{epoch}:{ahead}")
        assert changes.restart
        assert [ticket.ticket_id for ticket in changes.tickets] == [shown.ticket_id.bytes]
    assert counted("CURSOR") == before + 3
    lines = [record for record in caplog.records if "changes that the scans database lacks" in record.getMessage()]
    assert [record.levelname for record in lines] == ["ERROR"]
    # The cursor of a device proves nothing alone.
    assert database.value("SELECT count(*) FROM recoveries") == 0


async def first_changes(service, event_id: uuid.UUID, after: str) -> pb.WatchAdmissionsResponse:
    request = pb.WatchAdmissionsRequest(event_id=str(event_id), after_cursor=after)
    call = service.scans.WatchAdmissions(request, metadata=service.scanner)
    async with asyncio.timeout(20):
        changes = await call.read()
    call.cancel()
    assert isinstance(changes, pb.WatchAdmissionsResponse)
    return changes
