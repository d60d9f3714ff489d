import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.selling.notifications import NOW, delivery
from tests.stand_ins.webhook import SECRET, Hook, Post, listening
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.webhook import WebhookReceiver
from ticketing.chassis.clock import system_clock
from ticketing.chassis.logs import configure_logs


async def post(hook: Hook, *deliveries: Delivery, clock=system_clock) -> list[Post]:
    webhook = WebhookReceiver(hook.url, SECRET, 4, clock)
    try:
        for one in deliveries:
            await webhook.deliver(one)
    finally:
        await webhook.close()
    return hook.taken


async def test_post_is_a_cloud_event_with_a_valid_signature():
    sent = delivery()
    async with listening(Hook()) as hook:
        [taken] = await post(hook, sent)
    its = sent.notification
    assert taken.event == {
        "specversion": "1.0",
        "id": str(sent.notification_id),
        "source": "/ticketing/tickets",
        "type": "ticketing.ticket.reissued",
        "subject": str(its.ticket_id),
        "time": "2030-06-01T12:00:00+00:00",
        "datacontenttype": "application/json",
        "partitionkey": str(its.purchase_id),
        "sequence": "0000000000000000007",
        "data": {
            "event_id": str(its.event_id),
            "purchase_id": str(its.purchase_id),
            "ticket_id": str(its.ticket_id),
            "user_id": "alice",
            "issue": 2,
        },
    }
    assert taken.headers["content-type"] == "application/cloudevents+json"


async def test_signature_of_an_altered_delivery_is_invalid():
    async with listening(Hook()) as hook:
        [taken] = await post(hook, delivery())
    altered = taken.body.replace(b"alice", b"mallo")
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(altered, taken.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(taken.body, {**taken.headers, "webhook-id": "another"})


async def test_replayed_delivery_has_the_same_id_and_an_old_timestamp():
    sent = delivery()
    async with listening(Hook()) as hook:
        first, again = await post(hook, sent, replace(sent, attempts=2))
        assert first.headers["webhook-id"] == again.headers["webhook-id"] == json.loads(first.body)["id"]
        assert first.body == again.body
        hook.taken.clear()
        [old] = await post(hook, sent, clock=lambda: system_clock() - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Verifier(SECRET).verify(old.body, old.headers)


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_every_status_but_success_is_a_failed_delivery(status):
    async with listening(Hook(answers=lambda _: status)) as hook:
        with pytest.raises(UndeliveredError, match=f"HTTP {status}"):
            await post(hook, delivery())


async def test_unreachable_webhook_is_a_failed_delivery():
    async with listening(Hook()) as hook:
        pass
    with pytest.raises(UndeliveredError, match="ConnectError"):
        await post(hook, delivery())


async def rejected(hook: Hook, clock=system_clock) -> UndeliveredError:
    with pytest.raises(UndeliveredError) as raised:
        await post(hook, delivery(), clock=clock)
    return raised.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status):
    async with listening(Hook()) as other:
        async with listening(Hook(answers=lambda _: status, header=f"location: {other.url}?token=hush")) as hook:
            error = await rejected(hook)
        assert other.posts == []
    assert str(error) == f"HTTP {status}: redirects are not followed; set TICKETS_WEBHOOK_URL to the new address"
    assert not error.is_permanent


async def test_answer_410_means_that_the_receiver_is_gone():
    async with listening(Hook(answers=lambda _: 410, header="retry-after: 60")) as hook:
        error = await rejected(hook)
    assert (str(error), error.is_gone, error.retry_after) == ("HTTP 410", True, None)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        # Bounded.
        ("999999999999999999999999", 3600),
        ("Sat, 01 Jun 2030 12:05:00 GMT", 300),
        ("Saturday, 01-Jun-30 12:05:00 GMT", 300),
        ("Mon, 01 Jun 2099 12:00:00 GMT", 3600),
        ("Sat, 01 Jun 2030 11:59:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("Sat, 99 Jun 2030 99:05:00 GMT", None),
        ("", None),
    ],
)
async def test_retry_after_of_a_busy_webhook_is_kept(status, header, seconds):
    async with listening(Hook(answers=lambda _: status, header=f"retry-after: {header}")) as hook:
        error = await rejected(hook, clock=lambda: NOW)
    assert error.retry_after == (None if seconds is None else timedelta(seconds=seconds))


async def test_retry_after_of_another_failure_is_ignored():
    async with listening(Hook(answers=lambda _: 500, header="retry-after: 120")) as hook:
        assert (await rejected(hook)).retry_after is None


async def test_endless_answer_is_read_up_to_a_bound():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        # The deadline of the relay does not end this delivery.
        await post(Hook(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"), delivery())


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_url_is_not_logged(level, capsys):
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers = []
    try:
        configure_logs(level, "ticket_service")
        async with listening(Hook()) as hook:
            hook.url += "?token=hush"
            await post(hook, delivery())
    finally:
        root.handlers, root.level = before
    assert "hush" not in capsys.readouterr().err
