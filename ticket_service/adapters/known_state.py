"""Ask the scan service for the state that it has of events, tickets and keys, page by page."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import grpc.aio

from ticket_service.adapters.scans import OUTAGES
from ticket_service.convert.known_state import (
    events_request,
    keys_request,
    read_event,
    read_key,
    read_ticket,
    tickets_request,
)
from ticket_service.domain.recovery import KnownEvent, KnownKey, KnownTicket
from ticket_service.domain.refusals import scan_service_unavailable
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.peer_client import PeerClient
from ticketing.scans.v1.recovery_service_pb2_grpc import RecoveryServiceStub

Q = TypeVar("Q")
T = TypeVar("T")
if TYPE_CHECKING:
    from ticketing.scans.v1.recovery_service_pb2_grpc import RecoveryServiceAsyncStub

PAGE: Final = 500
PAGE_SECONDS: Final = 20.0
TRIES: Final = 5


class KnownState:
    """A client of the scan service's RecoveryService; its methods raise DEPENDENCY_UNAVAILABLE without an answer."""

    def __init__(self, peer: PeerClient) -> None:
        self._peer = peer

    async def events(self) -> AsyncIterator[Sequence[KnownEvent]]:
        """Yield every event, in pages, by id."""
        after = ""
        while True:
            page = await self._ask(self._stub().ListKnownEvents, events_request(after, PAGE))
            if not page.events:
                return
            after = page.events[-1].event_id
            yield [read_event(event) for event in page.events]

    async def tickets(self, event_id: UUID) -> AsyncIterator[Sequence[KnownTicket]]:
        """Yield every ticket of an event, in pages, by id."""
        after = ""
        while True:
            page = await self._ask(self._stub().ListKnownTickets, tickets_request(event_id, after, PAGE))
            if not page.tickets:
                return
            after = page.tickets[-1].ticket_id
            yield [read_ticket(ticket) for ticket in page.tickets]

    async def keys(self) -> tuple[Sequence[KnownKey], Sequence[KnownKey]]:
        """Return all keys, and those that are retired for good."""
        answer = await self._ask(self._stub().ListKnownKeys, keys_request())
        return [read_key(key) for key in answer.keys], [read_key(key) for key in answer.retired_keys]

    def _stub(self) -> "RecoveryServiceAsyncStub":
        return RecoveryServiceStub(self._peer.channel)

    async def _ask(self, call: "grpc.aio.UnaryUnaryMultiCallable[Q, T]", request: Q) -> T:
        """Make a call, again after an outage, a bounded number of times."""
        for attempt in range(1, TRIES + 1):
            try:
                return await call(request, timeout=PAGE_SECONDS, metadata=self._peer.metadata())
            except grpc.aio.AioRpcError as error:
                if attempt == TRIES or error.code() not in OUTAGES:
                    raise scan_service_unavailable() from error
            await asyncio.sleep(backoff_seconds(attempt, first=0.5, max_seconds=5))
        raise AssertionError("unreachable: the last try returns or raises")
