"""An asynchronous replica of the scans database is promoted without the last commits."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from scan_service.store.tables import feed
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.clusters import Pair, pair
from tests.environment.databases import execute
from tests.environment.waiting import until
from tests.scanning.gates import Device, ScansDatabase, running_service, settings_of
from ticketing.chassis.migrations import migrate
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

pytestmark = pytest.mark.slow

__all__ = ["pair"]


async def test_a_failover_that_loses_an_admission_asks_the_gates(pair: Pair, tmp_path: Path, issuer: Issuer) -> None:
    await asyncio.to_thread(execute, pair.primary.url(), "CREATE DATABASE scans")
    await asyncio.to_thread(migrate, pair.primary.url("scans"), ROOT / "scan_service" / "store" / "migrations")
    database = ScansDatabase(pair.primary.url("scans"))
    event_id = database.event()
    shown = database.ticket(event_id)
    async with running_service(settings_of(tmp_path, issuer), pair.url("scans"), issuer) as service:
        await until(lambda: database.value("SELECT server IS NOT NULL FROM feed"))
        position = database.value("SELECT pg_current_wal_lsn()::text")
        replica = sa.create_engine(pair.replica.url("scans"))
        await until(lambda: has_replayed(replica, position))
        replica.dispose()
        await asyncio.to_thread(pair.replica.stop)

        lost = await service.scan(event_id, shown.token)
        assert lost.verdict == scan_pb2.VERDICT_ADMITTED
        database.engine.dispose()
        await asyncio.to_thread(pair.stop_primary)
        await asyncio.to_thread(pair.replica.start)
        await asyncio.to_thread(pair.promote)

        survivor = sa.create_engine(pair.primary.url("scans"))
        await until(lambda: recoveries(survivor) == ["SERVER"])
        device = Device(service)
        resend = (await device.open(event_id)).resend
        assert resend.since_time.ToMicroseconds() < lost.scan_time.ToMicroseconds()
        attempt = pb.ScanAttempt(scan_id=lost.scan_id, code=shown.token)
        attempt.offline.verdict = scan_pb2.VERDICT_ADMITTED
        attempt.offline.scan_time.CopyFrom(lost.scan_time)
        await device.send(upload=pb.Upload(scans=[attempt]))
        assert [scan.scan_id for scan in (await device.receive()).uploaded.results] == [lost.scan_id]
        again = await service.scan(event_id, shown.token)
        assert again.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
        device.call.cancel()
        with survivor.begin() as connection:
            server = connection.execute(sa.select(feed.c.server)).scalar_one()
        assert server.split("/")[1] == "00000002"
        survivor.dispose()


def has_replayed(replica: sa.Engine, position: str) -> bool:
    with replica.begin() as connection:
        query = sa.text("SELECT pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn)")
        return bool(connection.execute(query, {"position": position}).scalar_one())


def recoveries(engine: sa.Engine) -> list[str]:
    with engine.begin() as connection:
        return list(connection.execute(sa.text("SELECT cause FROM recoveries")).scalars())
