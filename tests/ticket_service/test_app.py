import asyncio
import subprocess
import sys
from typing import Any

import grpc.aio
import pytest
import sqlalchemy as sa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.environment import ROOT
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.shop import Shop
from ticket_service.app import App
from ticket_service.policy import POLICY
from ticket_service.store.tables import events, metadata
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import Lease
from ticketing.chassis.settings import SettingsError


def run(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ticket_service", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}", **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_every_service_of_the_contract_is_healthy(service, channel):
    health: Any = health_pb2_grpc.HealthStub(channel)  # The stub's types lack its methods.
    for name in {method.split("/")[1] for method in POLICY}:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def until_a_sale_waits_for_a_lock(engine: sa.Engine) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '% sales'"
    )

    def count() -> int:
        # Each look has a transaction of its own, because PostgreSQL shows one state per transaction.
        with engine.connect() as connection:
            return connection.execute(waiting).scalar_one()

    await until(count)


async def test_orders_before_the_stop_are_sold(make_settings, tickets_url, clock, issuer):
    app = App(make_settings(), tickets_url, clock)
    engine = sa.create_engine(tickets_url, poolclass=sa.NullPool)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{await app.start()}") as channel:
            shop = Shop(channel, issuer, clock())
            event = await shop.on_sale()
            with engine.begin() as connection:
                connection.execute(sa.select(events.c.event_id).with_for_update())
                buying = asyncio.create_task(shop.buy(event.event_id))
                await until_a_sale_waits_for_a_lock(engine)
                stopping = asyncio.create_task(app.stop())
            assert (await buying).tickets
            await stopping
    finally:
        await app.stop()


async def test_unusable_key_file_stops_the_start(make_settings, tickets_url, tmp_path):
    (tmp_path / "signing.json").write_text("{")
    app = App(make_settings(TICKETS_SIGNING_KEY_FILE=str(tmp_path / "signing.json")), tickets_url)
    try:
        with pytest.raises(SettingsError, match=r"signing\.json"):
            await app.start()
    finally:
        await app.stop()


@pytest.mark.slow
def test_wrong_settings_stop_the_start_with_one_message(environment_of):
    ended = run(environment_of(TICKETS_PORT="99999", TICKETING_CODE_SECRET=""))
    assert ended.returncode == 2
    assert "TICKETS_PORT" in ended.stderr
    assert "TICKETING_CODE_SECRET" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_migrate_command_migrates_and_exits(environment_of, postgres: Lease):
    url = database_url(postgres.url("migrated_alone"))
    ended = run(environment_of(TICKETS_DATABASE_URL=url.render_as_string(hide_password=False)), "migrate")
    assert ended.returncode == 0, ended.stderr
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


@pytest.mark.slow
def test_sigterm_stops_the_service_in_order(environment_of, tickets_url):
    url = tickets_url.render_as_string(hide_password=False)
    with TicketProcess(environment_of(TICKETS_DATABASE_URL=url)) as process:
        assert process.end() == 0
