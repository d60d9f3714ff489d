"""Both services in the process of the test, and a tickets database that is restored to an earlier moment."""

import asyncio
import json
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
from sqlalchemy.engine import URL

from dev.clients import free_ports
from scan_service.app import App as ScansApp
from scan_service.settings import read_settings as read_scans_settings
from tests.environment.access import Issuer
from tests.environment.backups import back_up, restore_whole
from tests.environment.databases import read_value
from tests.environment.messages import at
from tests.environment.waiting import until
from tests.selling.shop import Shop, money, new_id
from ticket_service.app import App as TicketsApp
from ticket_service.commands.recover import RecoverRun
from ticket_service.settings import read_settings
from ticketing.chassis.clock import system_clock
from ticketing.chassis.settings import Environment
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as scans_pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import event_pb2, purchase_pb2, ticket_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as purchasing
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

PRICE = 2_500
OLGA = Shop.OLGA


@dataclass
class RestoredPair:
    """Both services on fixed ports; a test backs the tickets database up, changes it, and restores the backup."""

    tickets_url: URL
    scans_url: URL
    issuer: Issuer
    data_dir: Path
    more: dict[str, str] = field(default_factory=dict)
    backup: dict[str, str] = field(default_factory=dict)
    # The lines of the last recovery.
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tickets_port, self.scans_port = free_ports(2)
        self._services: dict[str, TicketsApp | ScansApp] = {}
        self._opened = AsyncExitStack()

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.issuer.variables(self.data_dir),
            "TICKETS_PORT": str(self.tickets_port),
            "SCANS_PORT": str(self.scans_port),
            "TICKETS_SCANS_ADDRESS": f"127.0.0.1:{self.scans_port}",
            "SCANS_TICKETS_ADDRESS": f"127.0.0.1:{self.tickets_port}",
            "TICKETS_SWEEP_SECONDS": "0.1",
            "TICKETING_DRAIN_SECONDS": "5",
            **self.more,
        }

    async def start_scans(self) -> None:
        settings = read_scans_settings(Environment(self.environment))
        self._services["scans"] = ScansApp(settings, self.scans_url)
        await self._services["scans"].start()
        channel = await self._opened.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{self.scans_port}"))
        self.gate = ScanServiceStub(channel)

    async def start_tickets(self) -> None:
        settings = read_settings(Environment(self.environment))
        self._services["tickets"] = TicketsApp(settings, self.tickets_url)
        await self._services["tickets"].start()
        # A new channel waits for no back-off of an earlier failure.
        channel = await self._opened.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{self.tickets_port}"))
        self.shop = Shop(channel, self.issuer)
        self.tickets = TicketServiceStub(channel)

    async def stop(self, *names: str) -> None:
        for name in names or list(self._services):
            await self._services.pop(name).stop()

    async def close(self) -> None:
        await self.stop()
        await self._opened.aclose()

    async def back_up(self) -> None:
        self.backup = await asyncio.to_thread(back_up, self.tickets_url, is_whole=True)

    async def restore(self) -> None:
        """Restore the backup while the service is stopped; the restored database has the epoch of the backup."""
        await self.stop("tickets")
        await asyncio.to_thread(restore_whole, self.tickets_url, self.backup)

    async def recover(self, *, accepts: bool = False) -> tuple[int, set[str]]:
        """Recover; return the exit status, and the kinds of what was found."""
        settings = read_settings(Environment(self.environment))
        self.lines = []
        command = RecoverRun(self.tickets_url, settings, self.lines.append, system_clock)
        status = await command.run(None, accepts=accepts, writes_json=False)
        return status, {one["kind"] for one in await self.findings()}

    async def findings(self) -> list[dict[str, Any]]:
        query = "SELECT coalesce(json_agg(f ORDER BY kind, subject), '[]')::text FROM recovery_findings AS f"
        found: list[dict[str, Any]] = json.loads(await asyncio.to_thread(read_value, self.tickets_url, query))
        return found

    async def event(self, **changes: Any) -> event_pb2.Event:
        """Publish an event whose doors are open, and wait until the gates have it."""
        now = datetime.now(UTC)
        usual: dict[str, Any] = {
            "doors_open_time": at(now - timedelta(minutes=1)),
            "start_time": at(now + timedelta(hours=1)),
            "end_time": at(now + timedelta(hours=3)),
            "ticket_price": money(PRICE),
            "refund_policy": event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)]),
        }
        event = await self.shop.on_sale(**{**usual, **changes})
        await self.at_gates(f"SELECT count(*) FROM events WHERE event_id = '{event.event_id}' AND status = 'PUBLISHED'")
        return event

    async def buy(self, event: event_pb2.Event, quantity: int = 1, **changes: Any) -> purchase_pb2.Purchase:
        """Buy tickets that the shop was paid for, and wait until the gates have them."""
        paid = {"external_payment_id": new_id(), "expected_total": money(PRICE * quantity), "user_id": "alice"}
        purchase = await self.shop.buy(event.event_id, Shop.BACKEND, quantity=quantity, **(changes or paid))
        return await self.replicated(purchase)

    async def replicated(self, purchase: purchase_pb2.Purchase) -> purchase_pb2.Purchase:
        purchase = await self.shop.read(purchase, Shop.BACKEND)
        for ticket in purchase.tickets:
            await self.at_gates(f"SELECT count(*) FROM tickets WHERE ticket_id = '{ticket.ticket_id}'")
        return purchase

    async def at_gates(self, query: str, wanted: object = 1) -> None:
        await until(lambda: read_value(self.scans_url, query), wanted)

    async def scan(self, event: event_pb2.Event, text: str) -> scan_pb2.Scan:
        gate = scan_pb2.Gate(event_id=event.event_id, location="North")
        attempt = scans_pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=text)
        metadata = self.issuer.metadata("scanner", "sam")
        request = scans_pb.ScanTicketRequest(gate=gate, attempt=attempt)
        return (await self.gate.ScanTicket(request, metadata=metadata, timeout=20)).scan

    async def ticket(self, ticket_id: str) -> ticket_pb2.Ticket:
        request = tickets_pb.GetTicketRequest(ticket_id=ticket_id)
        return (await self.tickets.GetTicket(request, metadata=self.shop.metadata(Shop.BACKEND))).ticket

    async def cancel(self, ticket_id: str) -> ticket_pb2.Cancellation:
        request = tickets_pb.CancelTicketRequest(ticket_id=ticket_id)
        return (await self.tickets.CancelTicket(request, metadata=self.shop.metadata(Shop.BACKEND))).cancellation

    async def reissue(self, ticket_id: str) -> ticket_pb2.Ticket:
        request = tickets_pb.ReissueTicketRequest(ticket_id=ticket_id, request_id=new_id())
        return (await self.tickets.ReissueTicket(request, metadata=self.shop.metadata(Shop.BACKEND))).ticket

    async def block(self, ticket_id: str) -> None:
        request = tickets_pb.SetTicketBlockedRequest(ticket_id=ticket_id, blocked=True)
        await self.tickets.SetTicketBlocked(request, metadata=self.shop.metadata(OLGA))
        await self.at_gates(f"SELECT count(*) FROM tickets WHERE ticket_id = '{ticket_id}' AND status = 'BLOCKED'")

    async def find_tickets(self, event: event_pb2.Event) -> dict[str, int]:
        """Return the status of each ticket of an event, by id."""
        request = tickets_pb.ListTicketsRequest(event_id=event.event_id, page_size=100)
        listed = await self.tickets.ListTickets(request, metadata=self.shop.metadata(OLGA))
        return {ticket.ticket_id: ticket.status for ticket in listed.tickets}

    async def purchase(self, event: event_pb2.Event) -> purchase_pb2.Purchase:
        """Return the only purchase of an event."""
        listing = purchasing.ListPurchasesRequest(event_id=event.event_id)
        listed = await self.shop.purchases.ListPurchases(listing, metadata=self.shop.metadata(OLGA))
        [purchase] = listed.purchases
        return await self.shop.read(purchase, OLGA)
