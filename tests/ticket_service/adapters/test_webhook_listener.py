"""A verified event wakes the reconciler for its payment; nothing else does anything."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.environment.certificates import Folder
from tests.environment.waiting import until
from tests.stand_ins.stripe import SIGNING_SECRET, signed
from ticket_service.adapters import webhook_listener
from ticket_service.adapters.stripe.webhooks import StripeWebhooks
from ticket_service.adapters.webhook_listener import MAX_BODY_BYTES, MAX_CONNECTIONS, WebhookListener
from ticketing.chassis.clock import system_clock
from ticketing.chassis.failures import dependency_unavailable
from ticketing.chassis.server import ListenSettings
from ticketing.chassis.tasks import Tasks
from ticketing.chassis.tls import Tls

OLD_SECRET = "whsec_before_the_rotation"
REFUND = {"type": "refund.failed", "data": {"object": {"object": "refund", "id": "re_1", "payment_intent": "pi_1"}}}


class Woken:
    """The payments that were woken, and whether the database answers."""

    def __init__(self) -> None:
        self.payments: list[tuple[str, str]] = []
        self.fails = False

    async def __call__(self, provider: str, payment_id: str) -> None:
        if self.fails:
            raise dependency_unavailable("database")
        self.payments.append((provider, payment_id))


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
async def url(woken: Woken) -> AsyncIterator[str]:
    listen = ListenSettings("127.0.0.1", 0, 5)
    parsers = {"stripe": StripeWebhooks([SIGNING_SECRET, OLD_SECRET])}
    listener = WebhookListener(listen, 0, parsers, woken, Tasks())
    yield f"http://127.0.0.1:{await listener.start()}/webhooks/stripe"
    await listener.stop()


async def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    async with httpx.AsyncClient(timeout=20) as client:
        return (await client.post(url, content=body, headers=headers)).status_code


async def test_a_signed_event_wakes_its_payment_each_time(url: str, woken: Woken) -> None:
    body, headers = signed(REFUND, system_clock())
    assert [await post(url, body, headers), await post(url, body, headers)] == [200, 200]
    assert woken.payments == [("stripe", "pi_1")] * 2


async def test_the_old_secret_verifies_during_a_rotation(url: str, woken: Woken) -> None:
    body, headers = signed(REFUND, system_clock(), OLD_SECRET)
    assert await post(url, body, headers) == 200
    assert woken.payments == [("stripe", "pi_1")]


@pytest.mark.parametrize(
    ("event", "payments"),
    [
        (
            {"type": "payment_intent.succeeded", "data": {"object": {"object": "payment_intent", "id": "pi_2"}}},
            ["pi_2"],
        ),
        (
            {"type": "charge.dispute.closed", "data": {"object": {"object": "dispute", "payment_intent": "pi_3"}}},
            ["pi_3"],
        ),
        ({"type": "charge.refunded", "data": {"object": {"object": "charge", "payment_intent": None}}}, []),
        ({"type": "customer.created", "data": {"object": {"object": "customer", "id": "cus_1"}}}, []),
    ],
)
async def test_events_of_all_types_are_accepted(
    url: str, woken: Woken, event: dict[str, Any], payments: list[str]
) -> None:
    body, headers = signed(event, system_clock())
    assert await post(url, body, headers) == 200
    assert [payment_id for _, payment_id in woken.payments] == payments


async def test_unsigned_forged_altered_and_old_events_do_nothing(url: str, woken: Woken) -> None:
    body, headers = signed(REFUND, system_clock())
    _, forged = signed(REFUND, system_clock(), "whsec_of_somebody_else")
    _, old = signed(REFUND, system_clock() - timedelta(hours=1))
    assert await post(url, body) == 401
    assert await post(url, body, forged) == 401
    assert await post(url, body.replace(b"pi_1", b"pi_2"), headers) == 401
    assert await post(url, body, old) == 401
    assert await post(url, b"\xff", headers) == 400
    assert woken.payments == []


@pytest.mark.parametrize("event", [[], {"type": 1}, {"type": "refund.failed", "data": {"object": []}}])
async def test_a_signed_body_that_is_no_event_is_refused(url: str, woken: Woken, event: Any) -> None:
    body, headers = signed(event, system_clock())
    assert (await post(url, body, headers), woken.payments) == (400, [])


async def test_other_paths_methods_and_large_bodies_are_refused(url: str, woken: Woken) -> None:
    body, headers = signed(REFUND, system_clock())
    assert await post(url.replace("stripe", "other"), body, headers) == 404
    async with httpx.AsyncClient(timeout=20) as client:
        assert (await client.get(url)).status_code == 405
    assert await post(url, b"x" * (MAX_BODY_BYTES + 1)) == 413
    assert woken.payments == []


async def test_an_event_that_is_not_queued_is_to_be_sent_again(url: str, woken: Woken) -> None:
    woken.fails = True
    body, headers = signed(REFUND, system_clock())
    assert await post(url, body, headers) == 503


async def test_silent_connections_do_not_block_the_port_for_long(woken: Woken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_listener, "CONNECTION_SECONDS", 0.5)
    listener = WebhookListener(
        ListenSettings("127.0.0.1", 0, 5), 0, {"stripe": StripeWebhooks([SIGNING_SECRET])}, woken, Tasks()
    )
    port = await listener.start()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_CONNECTIONS)]
    body, headers = signed(REFUND, system_clock())
    assert await post(f"http://127.0.0.1:{port}/webhooks/stripe", body, headers) == 200
    for connection in silent:
        connection.close()
    await listener.stop()


async def test_one_connection_serves_one_request(url: str, woken: Woken) -> None:
    body, headers = signed(REFUND, system_clock())
    lines = [
        "POST /webhooks/stripe HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-length"),
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/", maxsplit=1)[0]))
    writer.write(request * 3)
    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200") == 1
    assert woken.payments == [("stripe", "pi_1")]
    writer.close()
    assert json.loads(body)["type"] == "refund.failed"


async def test_a_renewed_certificate_is_presented_without_a_restart(woken: Woken, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    listen = ListenSettings("127.0.0.1", 0, 5, Tls(folder.identity("127.0.0.1")))
    listener = WebhookListener(listen, 0, {}, woken, Tasks())
    port = await listener.start()

    def certificate() -> bytes:
        context = ssl.create_default_context(cafile=folder.ca)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
            context.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
        ):
            presented = secured.getpeercert(binary_form=True)
            assert presented is not None
            return presented

    first = await asyncio.to_thread(certificate)
    folder.identity("127.0.0.1")
    assert await asyncio.to_thread(certificate) != first
    await listener.stop()


async def test_a_port_whose_loop_fails_serves_again(woken: Woken, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks()
    accept = WebhookListener._accept  # noqa: SLF001 - the loop of the thread
    faults = [RuntimeError("a fault")]

    async def fail_once(listener: WebhookListener, server: Any) -> None:
        if faults:
            raise faults.pop()
        await accept(listener, server)

    monkeypatch.setattr(WebhookListener, "_accept", fail_once)
    listener = WebhookListener(
        ListenSettings("127.0.0.1", 0, 5), 0, {"stripe": StripeWebhooks([SIGNING_SECRET])}, woken, tasks
    )
    port = await listener.start()
    [task] = tasks.running()
    await until(lambda: not faults and task.record.report_time is not None)
    body, headers = signed(REFUND, system_clock())
    assert await post(f"http://127.0.0.1:{port}/webhooks/stripe", body, headers) == 200
    await listener.stop()
