import json
from dataclasses import replace
from datetime import timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.selling.notifications import delivery
from tests.stand_ins.webhook import SECRET, Hook, Post, listening
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.webhook import WebhookReceiver
from ticketing.chassis.clock import system_clock


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


@pytest.mark.parametrize("status", [301, 400, 410, 429, 500])
async def test_every_status_but_success_is_a_failed_delivery(status):
    async with listening(Hook(answers=lambda _: status)) as hook:
        with pytest.raises(UndeliveredError, match=f"HTTP {status}"):
            await post(hook, delivery())


async def test_unreachable_webhook_is_a_failed_delivery():
    async with listening(Hook()) as hook:
        pass
    with pytest.raises(UndeliveredError, match="ConnectError"):
        await post(hook, delivery())
