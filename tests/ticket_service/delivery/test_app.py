import asyncio
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from dev.clients import free_ports
from tests.environment import ROOT
from tests.environment.http_port import READY, readiness
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.stand_ins.webhook import SECRET, Hook, listening
from ticket_service.delivery.app import NICE, DeliveryApp
from ticket_service.delivery.store.backlog import count_outbox_rows
from ticketing.chassis.settings import SettingsError
from ticketing.chassis.tasks import Tasks


def read(url: str) -> str:
    with urlopen(url, timeout=20) as answer:  # noqa: S310 - an address of this test
        text: str = answer.read().decode()
        return text


@pytest.mark.slow
async def test_relay_runs_as_its_own_process(shop, environment_of, tickets_url):
    ports = free_ports(1)
    async with listening(Hook()) as hook:
        variables = environment_of(
            TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False),
            TICKETS_WEBHOOK_URL=hook.url,
            TICKETS_WEBHOOK_SECRET=SECRET,
            TICKETS_SWEEP_SECONDS="0.1",
            TICKETS_RELAY_METRICS_PORT=str(ports[0]),
        )
        # The service that sells runs no relay.
        event = await shop.on_sale()
        bought = await shop.buy(event.event_id, quantity=2)
        with await asyncio.to_thread(TicketProcess, variables, "relay") as process:
            await until(lambda: len(hook.taken) == 1)
            assert await asyncio.to_thread(readiness, process.metrics_port) == (200, READY)
            # The metrics of the relay have a port of their own.
            url = f"http://127.0.0.1:{ports[0]}"
            delivered = 'notifications_delivered_total{receiver="webhook"} 1.0'
            await until(lambda: delivered in read(f"{url}/metrics"))
            assert '"ok"' in read(f"{url}/readyz")
            [relay] = [child for child in psutil.Process().children() if child.cmdline()[-1] == "relay"]
            # The system has no lower priority than 19.
            assert relay.nice() == min(psutil.Process().nice() + NICE, 19)
            assert await asyncio.to_thread(process.end) == 0
    [post] = hook.taken
    assert post.event["type"] == "ticketing.purchase.completed"
    assert post.event["data"]["ticket_ids"] == [ticket.ticket_id for ticket in bought.tickets]


async def test_wrong_mail_texts_stop_the_start(make_settings, tickets_url, tmp_path: Path):
    async def start(**settings: str) -> None:
        mail = {"TICKETS_SMTP_URL": "smtp://localhost", "TICKETS_MAIL_FROM": "tickets@example.com"}
        delivery = DeliveryApp(make_settings(**mail, **settings).delivery, tickets_url)
        try:
            await delivery.start()
        finally:
            await delivery.stop()

    with pytest.raises(SettingsError, match="TICKETS_MAIL_LANGUAGE is 'eo'; there is ar, de, en"):
        await start(TICKETS_MAIL_LANGUAGE="eo")
    (tmp_path / "mail.html").write_text("{% if %}")
    with pytest.raises(SettingsError, match="a template of mails cannot be used"):
        await start(TICKETS_MAIL_TEMPLATES=str(tmp_path))


@pytest.mark.parametrize("tasks", [None, Tasks()], ids=["a program", "built in"])
async def test_only_a_relay_of_its_own_depends_on_its_dispatcher(make_settings, tickets_url, tasks):
    webhook = {"TICKETS_WEBHOOK_URL": "http://127.0.0.1:1", "TICKETS_WEBHOOK_SECRET": SECRET}
    delivery = DeliveryApp(make_settings(**webhook).delivery, tickets_url, tasks=tasks)
    await delivery.start()
    essential = {task.record.name for task in delivery.health.tasks.running() if task.record.essential is not None}
    await delivery.stop()
    # A service whose built-in relay fails still sells.
    assert essential == ({"outbox"} if tasks is None else set())


async def test_notifications_are_logged_without_a_receiver(shop, make_settings, tickets_url, caplog):
    caplog.set_level("INFO", "ticket_service")
    event = await shop.on_sale()
    bought = await shop.buy(event.event_id)
    delivery = DeliveryApp(make_settings(TICKETS_SWEEP_SECONDS="0.1").delivery, tickets_url)
    await delivery.start()
    try:
        told = await until(lambda: [record for record in caplog.records if hasattr(record, "notification")])
    finally:
        await delivery.stop()
    assert [record.notification["subject"] for record in told] == [bought.purchase_id]


async def test_notifications_below_the_log_level_are_deleted(shop, make_settings, tickets_url, database, caplog):
    caplog.set_level("WARNING", "ticket_service")
    await shop.buy((await shop.on_sale()).event_id)
    assert await database.run(count_outbox_rows) == 1
    delivery = DeliveryApp(make_settings(TICKETS_SWEEP_SECONDS="0.1").delivery, tickets_url)
    await delivery.start()
    try:
        await until(lambda: database.run(count_outbox_rows), 0)
    finally:
        await delivery.stop()
    assert not [record for record in caplog.records if hasattr(record, "notification")]


@pytest.mark.slow
async def test_outbox_command_shows_the_backlog(environment_of, tickets_url):
    variables = environment_of(TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ticket_service",
        "outbox",
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}", **variables},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert (process.returncode, told.decode().strip()) == (0, "0 not taken up by a relay")
