"""The objects of the matrix: two organizers in one installation, with every kind of object that a call can name.

`own` is Olga's event with Alice's purchase and Olga's device; `foreign` is Oskar's event with Bob's purchase; a
`missing` object does not exist.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import sqlalchemy as sa
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.databases import execute
from tests.environment.refusals import reason_of
from tests.scanning.gates import ScansDatabase, ShownTicket
from tests.selling.shop import Shop, items, money, new_id
from ticketing.chassis.logs import REQUEST_ID
from ticketing.scans.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    gate_change_service_pb2,
    recovery_service_pb2,
    replica_service_pb2,
    revocation_service_pb2,
    scan_pb2,
    scan_service_pb2,
    scanner_service_pb2,
)
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import (
    change_service_pb2,
    erasure_service_pb2,
    event_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

OWN, FOREIGN, MISSING = "own", "foreign", "missing"
ORGANIZERS = {OWN: "olga", FOREIGN: "oskar"}
BUYERS = {OWN: "alice", FOREIGN: "bob"}
SHOP = ("service", "shop")
NOBODY = "nobody"
# The text of gRPC's client for a stream that ended before its first message was sent; it hides the status.
CANNOT_SEND = "Internal error from Core"
TRIES = 20
Metadata = tuple[tuple[str, str], ...]


SERVICES = (
    *(event_service_pb2, purchase_service_pb2, ticket_service_pb2, change_service_pb2, ticket_feed_service_pb2),
    erasure_service_pb2,
    *(scan_service_pb2, revocation_service_pb2, device_service_pb2, scanner_service_pb2),
    *(gate_change_service_pb2, recovery_service_pb2, replica_service_pb2),
)
RPCS: dict[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for module in SERVICES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


DISPUTE = """
    INSERT INTO disputes SELECT event_id, gen_random_uuid(), 'stripe', gen_random_uuid()::text, purchase_id, 'pi_1', 'EUR',
        2500, 'OPEN', 'fraudulent', now(), now(), '{{}}'
    FROM purchases WHERE purchase_id = '{}'
"""


@dataclass(frozen=True)
class Answer:
    """The end of one call."""

    # "ok", "some" and "none" for lists, or the reason.
    word: str
    message: str = ""
    # The SQL statements of the call, without parameters.
    statements: tuple[str, ...] = ()


@dataclass
class World:
    """Both services with their objects."""

    tickets: grpc.aio.Channel
    scans: grpc.aio.Channel
    issuer: Issuer
    copy: ScansDatabase
    shop: Shop
    tickets_url: URL
    # The objects by name and side. A call that changes state clears them.
    made: dict[tuple[str, str], Any] = field(default_factory=dict)
    statements: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    device_token: str = ""

    def __post_init__(self) -> None:
        self.devices = device_service_pb2_grpc.DeviceServiceStub(self.scans)
        sa.event.listen(sa.Engine, "before_cursor_execute", self._note)

    def close(self) -> None:
        """Stop recording statements."""
        if sa.event.contains(sa.Engine, "before_cursor_execute", self._note):
            sa.event.remove(sa.Engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        # The service looks a device up once a second, whichever call it makes.
        if "devices.token_digest IN " not in statement:
            self.statements[REQUEST_ID.get()].append(statement)

    async def _once(self, name: str, side: str, make: Callable[[str], Awaitable[Any]]) -> Any:
        if (name, side) not in self.made:
            self.made[name, side] = await make(side)
        return self.made[name, side]

    async def draft(self, side: str) -> str:
        if side == MISSING:
            return new_id()

        async def make(side: str) -> str:
            return (await self.shop.create(("organizer", ORGANIZERS[side]))).event_id

        return await self._once("draft", side, make)

    async def event(self, side: str) -> str:
        """Return a published event with tickets of 25 EUR that can be cancelled."""
        if side == MISSING:
            return new_id()

        async def make(side: str) -> str:
            policy = event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)])
            by = ("organizer", ORGANIZERS[side])
            return (await self.shop.on_sale(by, ticket_price=money(2_500), refund_policy=policy)).event_id

        return await self._once("event", side, make)

    async def hold(self, side: str) -> str:
        if side == MISSING:
            return new_id()

        async def make(side: str) -> str:
            purchase = await self.shop.buy(await self.event(side), ("user", BUYERS[side]))
            return purchase.purchase_id

        return await self._once("hold", side, make)

    async def purchase(self, side: str) -> Any:
        async def make(side: str) -> Any:
            return await self.shop.buy(
                await self.event(side),
                SHOP,
                external_payment_id=new_id(),
                expected_total=money(2_500),
                user_id=BUYERS[side],
            )

        return await self._once("purchase", side, make)

    async def purchase_id(self, side: str) -> str:
        return new_id() if side == MISSING else (await self.purchase(side)).purchase_id

    async def ticket(self, side: str) -> str:
        return new_id() if side == MISSING else (await self.purchase(side)).tickets[0].ticket_id

    async def code(self, side: str) -> str:
        return "TKT-0123456789ABCDEF" if side == MISSING else (await self.purchase(side)).tickets[0].code

    async def cancellation(self, side: str) -> str:
        if side == MISSING:
            return new_id()

        async def make(side: str) -> str:
            request = ticket_service_pb2.CancelTicketRequest(ticket_id=await self.ticket(side))
            stub = ticket_service_pb2_grpc.TicketServiceStub(self.tickets)
            answer = await stub.CancelTicket(request, metadata=self.shop.metadata(SHOP))
            # The ticket of that purchase is cancelled now.
            del self.made["purchase", side]
            return answer.cancellation.cancellation_id

        return await self._once("cancellation", side, make)

    async def dispute(self, side: str) -> str:
        """Dispute the payment of a purchase; only the provider can, so the row is inserted."""
        purchase_id = await self.purchase_id(side)
        if side != MISSING:
            await asyncio.to_thread(execute, self.tickets_url, DISPUTE.format(purchase_id))
        return purchase_id

    async def shown(self, side: str) -> ShownTicket:
        """Return a ticket of the scan service's replica."""

        async def make(side: str) -> ShownTicket:
            return self.copy.ticket(self.copy.event(organizer_id=ORGANIZERS[side]))

        return await self._once("shown", side, make)

    async def gate(self, side: str) -> scan_pb2.Gate:
        event_id = new_id() if side == MISSING else str((await self.shown(side)).event_id)
        return scan_pb2.Gate(event_id=event_id, location="North")

    async def shown_code(self, side: str) -> str:
        return "TKT-0123456789ABCDEF" if side == MISSING else (await self.shown(side)).code

    async def scan(self, side: str) -> str:
        """Return a denied scan of Sam's; a denied scan can be repeated."""
        if side == MISSING:
            return new_id()

        async def make(side: str) -> str:
            scan_id = new_id()
            attempt = scan_service_pb2.ScanAttempt(scan_id=scan_id, code=await self.shown_code(side))
            request = scan_service_pb2.ScanTicketRequest(gate=await self.gate(side), attempt=attempt)
            await ScanServiceStub(self.scans).ScanTicket(request, metadata=self.issuer.metadata("scanner", "sam"))
            return scan_id

        return await self._once("scan", side, make)

    async def device(self, side: str) -> str:
        if side == MISSING:
            return new_id()
        return (await self._once("device", side, self._new_device)).device.device_id

    async def enrollment_code(self, side: str) -> str:
        if side == MISSING:
            return "AAAA-BBBB-CCCC-DDDD"
        return (await self._once("enrollment", side, self._new_device)).enrollment_code

    async def _new_device(self, side: str) -> device_service_pb2.CreateDeviceResponse:
        by = self.issuer.metadata("organizer", ORGANIZERS[side])
        return await self.devices.CreateDevice(
            device_service_pb2.CreateDeviceRequest(name="Door", request_id=new_id()), metadata=by
        )

    async def enrolled(self, side: str) -> tuple[str, str]:
        """Enroll a device; return its id and its token."""
        created = await self._new_device(side)
        request = device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code, request_id=new_id())
        return created.device.device_id, (await self.devices.EnrollDevice(request)).access_token

    async def order(self, side: str) -> purchase_service_pb2.PurchaseTicketsRequest:
        """Return an order of a paid ticket, as organizers and backends send it."""
        return purchase_service_pb2.PurchaseTicketsRequest(
            request_id=new_id(),
            event_id=await self.event(side),
            items=items((event_pb2.TICKET_TYPE_STANDARD, 1)),
            external_payment_id=new_id(),
            expected_total=money(2_500),
        )

    async def ask(self, rpc: MethodDescriptor, request: Message, metadata: Metadata) -> Answer:
        """Make one call, unary or streaming."""
        for _ in range(TRIES):
            answer = await self._ask(rpc, request, metadata)
            if answer is not None:
                return answer
        raise AssertionError(f"{rpc.full_name} never reported its status")

    async def _ask(self, rpc: MethodDescriptor, request: Message, metadata: Metadata) -> Answer | None:
        """Make one call; return None where the client does not report its status."""
        request_id = uuid.uuid4().hex
        channel = self.scans if ".scans." in rpc.full_name else self.tickets
        try:
            response = await call_by_path(channel, rpc, request, (*metadata, ("x-request-id", request_id)))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Answer("UNIMPLEMENTED")
            if error.details() == CANNOT_SEND:
                return None
            return Answer(reason_of(error), error.details() or "", tuple(self.statements[request_id]))
        if rpc.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
            self.made.clear()
        if not rpc.name.startswith("List"):
            return Answer("ok")
        return Answer("some" if response else "none")


async def call_by_path(channel: grpc.aio.Channel, rpc: MethodDescriptor, request: Message, metadata: Metadata) -> bytes:
    """Call by path and with bytes, so that no stub has to be found."""
    raw: Any = channel  # The types of a channel allow only calls with messages.
    path, sent = f"/{rpc.containing_service.full_name}/{rpc.name}", request.SerializeToString()
    if rpc.server_streaming:
        if rpc.client_streaming:
            call = raw.stream_stream(path)(iter([sent]), metadata=metadata, timeout=20)
        else:
            call = raw.unary_stream(path)(sent, metadata=metadata, timeout=20)
        first = await call.read()
        call.cancel()
        return bytes(first)
    answer: bytes = await raw.unary_unary(path)(sent, metadata=metadata, timeout=20)
    return answer
