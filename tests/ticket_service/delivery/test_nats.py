import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.selling.notifications import delivery
from tests.stand_ins.nats import NatsServer
from ticket_service.delivery.nats import NatsReceiver
from ticket_service.delivery.receiver import UndeliveredError
from ticket_service.domain.notifications import Kind

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def receiver(server: NatsServer) -> AsyncIterator[NatsReceiver]:
    receiver = NatsReceiver(server.url, "ticketing", 64)
    yield receiver
    await receiver.close()


async def test_repeated_delivery_is_stored_once(server, receiver):
    first, second = delivery(), delivery(Kind.REFUND_MADE)
    # The deliveries run in parallel, so that two of them create the stream.
    await asyncio.gather(receiver.deliver(first), receiver.deliver(second))
    await receiver.deliver(first)
    kept = await server.messages()
    assert {json.loads(one.data)["id"] for one in kept} == {str(first.notification_id), str(second.notification_id)}
    assert len(kept) == 2
    assert {one.subject for one in kept} == {"ticketing.ticket.reissued", "ticketing.refund.made"}
    assert kept[0].headers["content-type"] == "application/cloudevents+json"


async def test_receiver_reconnects_after_a_restart_of_the_server(server, receiver):
    first, second = delivery(), delivery()
    await receiver.deliver(first)
    server.stop()
    # The first try may wait for an answer on the lost connection.
    with pytest.raises((UndeliveredError, TimeoutError)):
        async with asyncio.timeout(0.2):
            await receiver.deliver(second)
    with pytest.raises(UndeliveredError):
        await receiver.deliver(second)
    server.start()
    await receiver.deliver(second)
    assert [json.loads(one.data)["id"] for one in await server.messages()] == [
        str(first.notification_id),
        str(second.notification_id),
    ]


async def test_unused_receiver_closes():
    await NatsReceiver("nats://127.0.0.1:1", "ticketing", 64).close()
