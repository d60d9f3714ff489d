"""A replica of the scans database is promoted, with all commits and without the last ones."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.clusters import Cluster, Pair, pair
from tests.environment.databases import execute
from tests.environment.waiting import eventually, until
from tests.scanning.gates import Device, ScansDatabase, Service, running_service, settings_of
from ticketing.chassis.migrations import migrate
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

pytestmark = pytest.mark.slow

__all__ = ["pair"]

EPOCH = "SELECT changes_epoch::text FROM feed"
HAS_REPLAYED = "SELECT pg_last_wal_replay_lsn() >= CAST('{}' AS pg_lsn)"

ALL_IS_REPLAYED = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication"


@pytest.fixture
def ask() -> Iterator[Callable[[Cluster, str], object]]:
    """Yield a function that asks one server of the pair."""
    engines = dict[Cluster, sa.Engine]()

    def ask(cluster: Cluster, query: str) -> object:
        engine = engines.setdefault(cluster, sa.create_engine(cluster.url("scans"), poolclass=sa.NullPool))
        with engine.connect() as connection:
            return connection.execute(sa.text(query)).scalar()

    yield ask
    for engine in engines.values():
        engine.dispose()


@pytest.fixture
def database(pair: Pair, ask: Callable[[Cluster, str], object]) -> ScansDatabase:
    # A server ends with the thread that started it, such as one of the event loop of the test before.
    pair.replica.stop()
    pair.replica.start()
    execute(pair.primary.url(), "DROP DATABASE IF EXISTS scans")
    execute(pair.primary.url(), "CREATE DATABASE scans")
    migrate(pair.primary.url("scans"), ROOT / "scan_service" / "store" / "migrations")
    # A replica that has not replayed the removal of the former database refuses connections for good, and a service that
    # tries both servers does not try the next one then.
    eventually(lambda: ask(pair.primary, ALL_IS_REPLAYED))
    return ScansDatabase(pair.primary.url("scans"))


async def test_devices_go_on_after_a_failover_that_lost_nothing(
    pair: Pair, database: ScansDatabase, ask: Callable[[Cluster, str], object], tmp_path: Path, issuer: Issuer
) -> None:
    event_id = database.event()
    shown = [database.ticket(event_id) for _ in range(2)]
    async with running_service(settings_of(tmp_path, issuer), pair.url("scans"), issuer) as service:
        await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
        epoch = database.value(EPOCH)
        await service.scan(event_id, shown[0].token)
        before = await changes(service, event_id)
        database.engine.dispose()
        # The primary stops after its replica has received everything.
        await asyncio.to_thread(pair.stop_primary)
        await asyncio.to_thread(pair.promote)

        await until(lambda: ask(pair.primary, "SELECT array_agg(cause) FROM recoveries") == ["SERVER"])
        assert ask(pair.primary, EPOCH) == epoch
        scan = await service.scan(event_id, shown[1].token)
        after = await changes(service, event_id, before.cursor)
        assert not after.restart
        # Also what the new primary has decided reaches the device.
        assert [ticket.check_in.scan_id for ticket in after.tickets if ticket.inside][-1] == scan.scan_id


async def test_a_failover_that_loses_an_admission_asks_the_gates(
    pair: Pair, database: ScansDatabase, ask: Callable[[Cluster, str], object], tmp_path: Path, issuer: Issuer
) -> None:
    event_id = database.event()
    shown = database.ticket(event_id)
    async with running_service(settings_of(tmp_path, issuer), pair.url("scans"), issuer) as service:
        await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
        kept = await changes(service, event_id)
        position = database.value("SELECT pg_current_wal_lsn()::text")
        await until(lambda: ask(pair.replica, HAS_REPLAYED.format(position)))
        await asyncio.to_thread(pair.replica.stop)

        lost = await service.scan(event_id, shown.token)
        assert lost.verdict == scan_pb2.VERDICT_ADMITTED
        ahead = await changes(service, event_id)
        assert ahead.tickets[0].inside
        database.engine.dispose()
        await asyncio.to_thread(pair.stop_primary)
        await asyncio.to_thread(pair.replica.start)
        await until(lambda: ask(pair.replica, "SELECT pg_last_wal_receive_lsn() IS NOT NULL"))
        await asyncio.to_thread(pair.promote)

        await until(lambda: ask(pair.primary, "SELECT array_agg(cause) FROM recoveries") == ["SERVER"])
        # The new primary uses the ids of the lost transactions again, so these show no loss any more.
        horizon = int(ahead.cursor.partition("@")[0].split(":")[1])
        await until(lambda: int(str(ask(pair.primary, "SELECT pg_current_xact_id()"))) > horizon)
        # A device that has seen the lost admission begins anew, and no other one.
        again = await changes(service, event_id, ahead.cursor)
        assert again.restart
        assert not again.tickets[0].inside
        assert not (await changes(service, event_id, kept.cursor)).restart

        device = Device(service)
        resend = (await device.open(event_id)).resend
        assert resend.since_time.ToMicroseconds() < lost.scan_time.ToMicroseconds()
        attempt = pb.ScanAttempt(scan_id=lost.scan_id, code=shown.token)
        attempt.offline.verdict = scan_pb2.VERDICT_ADMITTED
        attempt.offline.scan_time.CopyFrom(lost.scan_time)
        await device.send(upload=pb.Upload(scans=[attempt]))
        assert [scan.scan_id for scan in (await device.receive()).uploaded.results] == [lost.scan_id]
        second = await service.scan(event_id, shown.token)
        assert second.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
        device.call.cancel()


async def changes(service: Service, event_id: uuid.UUID, after: str = "") -> pb.WatchAdmissionsResponse:
    """Return the first changes after a cursor."""
    request = pb.WatchAdmissionsRequest(event_id=str(event_id), after_cursor=after)
    call = service.scans.WatchAdmissions(request, metadata=service.scanner)
    async with asyncio.timeout(20):
        message = await call.read()
    call.cancel()
    assert isinstance(message, pb.WatchAdmissionsResponse)
    return message
