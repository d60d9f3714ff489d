"""Every receiver gets each notification in order, also after outages of the receiver and kills of service and relay.

TICKETING_NOTIFIED sets the number of runs; each has its own seed.
"""

import asyncio
import json
import os
import random
import signal
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from dev.clients import free_ports
from tests.e2e.service_pair import NewServicePair, ServicePair, new_gate, on_sale, purchase_request
from tests.environment.databases import connected
from tests.environment.waiting import eventually, until
from tests.stand_ins.nats import NatsServer
from tests.stand_ins.smtp import Mailbox, serving_mail
from tests.stand_ins.webhook import SECRET, Hook, Post, listening
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, ticket_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("TICKETING_NOTIFIED", "1"))
FIRST_SEED = int(os.environ.get("TICKETING_SEED", "1"))

NOTIFICATIONS = ["purchase.completed", "ticket.checked_in", "ticket.cancelled", "refund.requested", "refund.made"]
MAILED = ["Your tickets for Concert", "Your ticket for Concert is cancelled", "Your refund for Concert"]


@dataclass
class World:
    """Both services, the relay, and three receivers that a run stops and starts."""

    pair: ServicePair
    nats: NatsServer
    hook: Hook
    mailbox: Mailbox
    ports: Sequence[int]
    chance: random.Random
    hook_is_up: AsyncExitStack = field(default_factory=AsyncExitStack)
    mail_is_up: AsyncExitStack = field(default_factory=AsyncExitStack)
    # The number of the post during which the relay is killed; None for no kill.
    dies_at_post: int | None = None
    killed: int = 0

    async def up(self) -> None:
        self.nats.start()
        await self.hook_is_up.enter_async_context(listening(self.hook, self.ports[0]))
        await self.mail_is_up.enter_async_context(serving_mail(self.mailbox, self.ports[1]))

    async def down(self) -> None:
        self.nats.stop()
        await self.hook_is_up.aclose()
        await self.mail_is_up.aclose()

    def answer(self, post: Post) -> int | None:
        """Return the status of the answer to a post, or None for no answer."""
        # `event` verifies the signature, which is valid for five minutes.
        assert post.event["id"] == post.headers["webhook-id"]
        if self.dies_at_post is not None and len(self.hook.posts) >= self.dies_at_post:
            self.dies_at_post = None
            self.pair.running["relay"].end(signal.SIGKILL)
            # The killed relay cannot record the post that the receiver has.
            return 204
        return self.chance.choices([204, 500, 429, None], [8, 2, 2, 1])[0]

    def refuse_mail(self, _address: str) -> str | None:
        """Return a temporary refusal for some mails."""
        return "451 try again" if self.chance.random() < 0.3 else None

    def die(self, *modules: str) -> None:
        """Kill processes, unless a webhook request has killed them, and restart them."""
        for module in modules:
            self.pair.running.pop(module).end(signal.SIGKILL)
            self.pair.start(module)
            self.killed += 1


def buy(world: World, email: str) -> tuple[event_pb2.Event, Sequence[ticket_pb2.Ticket]]:
    event = on_sale(world.pair.caller("organizer", "alice"))
    request = purchase_request(event, 2)
    request.email = email
    shop = world.pair.caller("service", "shop")
    return event, shop.ask(shop.purchases.PurchaseTickets, request).purchase.tickets


def admit(world: World, event: event_pb2.Event, ticket: ticket_pb2.Ticket) -> None:
    with closing(new_gate(world.pair, event.event_id)) as gate:
        # The replica of the scan service may still contain the event as a draft.
        eventually(lambda: gate.scan(ticket.token).verdict, scan_pb2.VERDICT_ADMITTED)
    bob = world.pair.caller("user", "bob")
    get = ticket_service_pb2.GetTicketRequest(ticket_id=ticket.ticket_id)
    eventually(lambda: bob.ask(bob.tickets.GetTicket, get).ticket.status, ticket_pb2.TICKET_STATUS_USED)


def cancel(world: World, ticket: ticket_pb2.Ticket) -> str:
    bob = world.pair.caller("user", "bob")
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id)
    return bob.ask(bob.tickets.CancelTicket, request).cancellation.cancellation_id


def confirm(world: World, cancellation_id: str) -> None:
    shop = world.pair.caller("service", "shop")
    request = ticket_service_pb2.ConfirmRefundRequest(cancellation_id=cancellation_id, refund_id=str(uuid.uuid4()))
    shop.ask(shop.tickets.ConfirmRefund, request)


async def run_steps(world: World, email: str) -> event_pb2.Event:
    """Run the steps of `make demo`; kill service and relay after one step, and stop the receivers during some."""
    dies_after, away = world.chance.randrange(4), sorted(world.chance.sample(range(5), 2))

    async def between(step: int) -> None:
        if step == away[0]:
            await world.down()
        if step == away[1]:
            await world.up()
        # The relay has hardly delivered the notification of the last commit.
        if step == dies_after + 1:
            await asyncio.to_thread(world.die, "ticket_service", "relay")

    await between(0)
    event, (first, second) = await asyncio.to_thread(buy, world, email)
    await between(1)
    await asyncio.to_thread(admit, world, event, first)
    await between(2)
    cancellation_id = await asyncio.to_thread(cancel, world, second)
    await between(3)
    await asyncio.to_thread(confirm, world, cancellation_id)
    await between(4)
    return event


async def drained(world: World, url: URL) -> None:
    """Wait until every notification is delivered; sometimes kill the relay between delivery and its record."""
    if world.chance.random() < 0.5:
        world.dies_at_post = len(world.hook.posts) + 1

    async def left() -> list[Any]:
        if world.pair.running["relay"].has_ended():
            await asyncio.to_thread(world.die, "relay")
        with connected(url) as cursor:
            cursor.execute("SELECT receiver, kind, failure FROM deliveries UNION SELECT 'outbox', kind, '' FROM outbox")
            return list(cursor.fetchall())

    await until(left, [])
    world.dies_at_post = None


def check(event: event_pb2.Event, came: Sequence[dict[str, Any]]) -> None:
    """Check that each notification came, once by its id, and in order per purchase."""
    first_time = {one["id"]: one for one in reversed(came) if one["data"]["event_id"] == event.event_id}
    in_order = [one for one in came if first_time.get(one["id"]) is one]
    assert sorted(one["type"].removeprefix("ticketing.") for one in in_order) == sorted(NOTIFICATIONS)
    by_purchase: dict[str, list[str]] = defaultdict(list)
    for one in in_order:
        by_purchase[one["partitionkey"]].append(one["sequence"])
    assert len(by_purchase) == 1
    assert all(sequences == sorted(sequences) for sequences in by_purchase.values())


@pytest.mark.timeout(60 + 40 * RUNS)
async def test_every_receiver_gets_each_notification_in_order(
    new_pair: NewServicePair, tickets_url: URL, scans_url: URL, tmp_path: Path
) -> None:
    nats, ports = NatsServer(tmp_path / "nats"), free_ports(2)
    pair = new_pair(
        tickets_url,
        scans_url,
        TICKETS_WEBHOOK_URL=f"http://127.0.0.1:{ports[0]}/hook",
        TICKETS_WEBHOOK_SECRET=SECRET,
        TICKETS_NATS_URL=nats.url,
        TICKETS_SMTP_URL=f"smtp://127.0.0.1:{ports[1]}",
        TICKETS_MAIL_FROM="Tickets <tickets@example.com>",
        TICKETS_SWEEP_SECONDS="0.1",
        TICKETS_DELIVERY_SECONDS="3",
        TICKETS_DELIVERY_RETRY_SECONDS="0.05",
    )
    world = World(pair, nats, Hook(), Mailbox(), ports, random.Random())
    world.hook.answers, world.mailbox.refuses = world.answer, world.refuse_mail
    await world.up()
    try:
        for module in ("ticket_service", "scan_service", "relay"):
            await asyncio.to_thread(pair.start, module)
        for seed in range(FIRST_SEED, FIRST_SEED + RUNS):
            world.chance.seed(seed)
            email = f"buyer{seed}@example.com"
            event = await run_steps(world, email)
            await drained(world, tickets_url)
            check(event, [json.loads(post.body) for post in world.hook.taken])
            check(event, [json.loads(one.data) for one in await nats.messages()])
            mails = {mail["message-id"]: mail["subject"] for mail in world.mailbox.mails if mail["to"] == email}
            assert list(mails.values()) == MAILED
        posts = len(world.hook.posts)
        print(f"seeds {FIRST_SEED} to {seed}: {world.killed} kills, {posts} posts, {len(world.mailbox.mails)} mails")
        assert posts > len(NOTIFICATIONS) * RUNS, "no delivery was repeated: the test shows little"
    finally:
        await world.down()
