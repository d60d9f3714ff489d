"""Gate devices that repeat a scan until it is answered, over connections that break."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio

from tests.e2e.service_pair import ServicePair, buy, on_sale
from ticketing.scans.v1 import scan_pb2, scan_service_pb2, scan_service_pb2_grpc
from ticketing.tickets.v1 import event_pb2, ticket_pb2

ANSWER_SECONDS = 5
TRIES = 500
RETRY_SECONDS = 0.3
TICKETS_IN_A_PURCHASE = 20

# Each try opens its own channel. A shorter back-off would also shorten the time that connecting may take, and two
# hundred devices that reconnect at once need that time.
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True)
class Visitor:
    """A person with a ticket at one gate. Every repetition of the scan has the same id."""

    ticket: ticket_pb2.Ticket
    scan_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def sell(pair: ServicePair, count: int, **fields: Any) -> tuple[event_pb2.Event, list[ticket_pb2.Ticket]]:
    """Sell `count` tickets for an event whose doors are open."""
    event, shop = on_sale(pair.caller("organizer", "alice"), **fields), pair.caller("service", "shop")
    tickets: list[ticket_pb2.Ticket] = []
    while len(tickets) < count:
        tickets += buy(shop, event, min(TICKETS_IN_A_PURCHASE, count - len(tickets))).tickets
    return event, tickets


@dataclass
class RetryingDevice:
    """One gate device. It scans ticket after ticket and repeats unanswered scans under the same scan_id."""

    name: str
    addresses: Sequence[str]
    metadata: tuple[tuple[str, str], ...]
    event_id: str
    random: random.Random
    answers: dict[str, scan_pb2.Scan] = field(default_factory=dict)
    # The number of connections that ended before an answer, by error.
    lost: Counter[str] = field(default_factory=Counter)

    async def admit(self, visitors: Sequence[Visitor]) -> AsyncIterator[scan_pb2.Scan]:
        """Scan the ticket of each visitor; yield each final answer."""
        waiting = list(visitors)
        for _ in range(TRIES):
            try:
                async for scan in self._connected(waiting):
                    waiting.pop(0)
                    self.answers[scan.scan_id] = scan
                    yield scan
            except grpc.aio.AioRpcError as error:
                self.lost[f"{error.code().name} {error.details()}"] += 1
            except (asyncio.InvalidStateError, TimeoutError) as error:
                self.lost[repr(error)] += 1
            if not waiting:
                return
            await asyncio.sleep(self.random.uniform(0, RETRY_SECONDS))
        raise AssertionError(f"{self.name} has no answer after {TRIES} tries: {self.lost}")

    async def _connected(self, waiting: Sequence[Visitor]) -> AsyncIterator[scan_pb2.Scan]:
        """Scan over one connection until it ends."""
        async with grpc.aio.insecure_channel(self.random.choice(self.addresses), options=CHANNEL_OPTIONS) as channel:
            stream = scan_service_pb2_grpc.ScanServiceStub(channel).StreamScans(metadata=self.metadata)
            gate = scan_pb2.Gate(event_id=self.event_id, location=self.name)
            await self._ask(stream, scan_service_pb2.StreamScansRequest(open=gate))
            for visitor in list(waiting):
                attempt = scan_service_pb2.ScanAttempt(scan_id=visitor.scan_id, code=visitor.ticket.token)
                answer = await self._ask(stream, scan_service_pb2.StreamScansRequest(scan=attempt))
                if answer.WhichOneof("message") != "result":
                    # The service is stopping or its database is down: repeat the scan over another connection.
                    return
                assert answer.result.scan_id == visitor.scan_id
                yield answer.result

    @staticmethod
    async def _ask(
        stream: "grpc.aio.StreamStreamCall[scan_service_pb2.StreamScansRequest, scan_service_pb2.StreamScansResponse]",
        request: scan_service_pb2.StreamScansRequest,
    ) -> scan_service_pb2.StreamScansResponse:
        async with asyncio.timeout(ANSWER_SECONDS):
            await stream.write(request)
            answer = await stream.read()
        if answer is grpc.aio.EOF:
            raise TimeoutError("the stream has ended")
        return cast(scan_service_pb2.StreamScansResponse, answer)
