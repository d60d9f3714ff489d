"""The HTTP port answers about the process, also while its event loop hangs and while clients are slow."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.environment.certificates import Folder
from tests.environment.http_port import get, readiness
from tests.environment.waiting import eventually
from ticketing.chassis import endpoints as module
from ticketing.chassis import health as health_module
from ticketing.chassis.endpoints import Endpoints
from ticketing.chassis.health import Health
from ticketing.chassis.tasks import Essential, Tasks
from ticketing.chassis.tls import PLAIN, Tls


@pytest.fixture
def health() -> Health:
    return Health(Tasks())


@pytest.fixture
def port(health: Health) -> Iterator[int]:
    endpoints = Endpoints("127.0.0.1", 0, PLAIN, health.report)
    yield endpoints.port
    endpoints.close()


async def test_a_process_is_ready_between_its_start_and_its_drain(health: Health, port: int) -> None:
    async def answer() -> tuple[int, object]:
        status, body = await asyncio.to_thread(readiness, port)
        return status, body["not_ready"]

    assert await answer() == (503, {"stage": "starting"})
    health.begin()
    assert await answer() == (200, {})
    health.drain()
    assert await answer() == (503, {"stage": "draining"})
    assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200


async def test_an_overdue_task_is_named_and_a_failing_one_only_warns(health: Health, port: int) -> None:
    async def fail() -> None:
        raise ValueError("the password of the database is hunter2")

    health.begin()
    for name, essential in (("needed", Essential(0)), ("other", None)):
        health.tasks.new(name, fail, 1, essential).start()
    await asyncio.sleep(0)
    status, body = await asyncio.to_thread(readiness, port)
    assert (status, list(body["not_ready"]), list(body["warnings"])) == (503, ["needed"], ["other"])
    assert "hunter2" not in json.dumps(body)
    await health.tasks.stop()


def test_a_hanging_event_loop_is_not_alive_until_it_turns_again(
    health: Health, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "MAX_BEAT_SECONDS", 0.5)
    monkeypatch.setattr(health_module, "BEAT_SECONDS", 0.02)

    async def hang() -> None:
        health.begin()
        await asyncio.to_thread(eventually, lambda: get(port, "/livez")[0], 200)
        # The loop does not turn while it waits here.
        eventually(lambda: (get(port, "/livez")[0], get(port, "/readyz")[0]), (503, 503))
        await asyncio.to_thread(eventually, lambda: get(port, "/livez")[0], 200)

    asyncio.run(hang())


def test_slow_clients_do_not_block_the_port(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(module.MAX_CONNECTIONS - 1)]
    assert get(port, "/metrics")[0] == 200
    for connection in silent:
        connection.close()


def test_slow_clients_are_disconnected(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.2)
    with closing(socket.create_connection(("127.0.0.1", port))) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        slow.settimeout(20)
        assert slow.recv(1) == b""


def test_unknown_paths_and_their_names(port: int) -> None:
    assert get(port, "/metrics?name[]=process_cpu_seconds_total")[0] == 200
    assert get(port, "/")[0] == 200
    status, body = get(port, "/secrets")
    assert (status, body) == (404, "/metrics, /livez, /readyz\n")


def test_a_renewed_certificate_is_presented_without_a_restart(health: Health, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    endpoints = Endpoints("127.0.0.1", 0, Tls(folder.identity("127.0.0.1")), health.report)

    def certificate() -> bytes:
        context = ssl.create_default_context(cafile=folder.ca)
        with (
            socket.create_connection(("127.0.0.1", endpoints.port)) as connection,
            context.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
        ):
            presented = secured.getpeercert(binary_form=True)
            assert presented is not None
            return presented

    first = certificate()
    assert certificate() == first
    identity = folder.identity("127.0.0.1")
    assert certificate() != first
    second = certificate()
    # The key is written first: meanwhile the old certificate stays.
    identity.key.write_text("half")
    assert certificate() == second
    endpoints.close()
