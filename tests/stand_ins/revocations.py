"""A stand-in for the scan service as the ticket service calls it: it settles each revocation once."""

import asyncio
from datetime import datetime
from typing import Any

import grpc
import grpc.aio

from ticketing.scans.v1 import revocation_service_pb2 as pb
from ticketing.scans.v1 import scanner_service_pb2
from ticketing.scans.v1.revocation_service_pb2_grpc import (
    RevocationServiceServicer,
    add_RevocationServiceServicer_to_server,
)
from ticketing.scans.v1.scanner_service_pb2_grpc import ScannerServiceServicer, add_ScannerServiceServicer_to_server


class ScansStandIn(RevocationServiceServicer, ScannerServiceServicer):
    """A scan service that settles revocations; tests set the checked-in tickets and read the calls."""

    def __init__(self) -> None:
        self.admitted: dict[str, datetime] = {}
        # The tickets whose rows another session has locked.
        self.locked: set[str] = set()
        self.closed: list[str] = []
        # The erased users.
        self.erased: list[str] = []
        self.calls: list[pb.RevokeTicketsRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.settled: dict[str, pb.RevocationOutcome] = {}
        self.fails_with: grpc.StatusCode | None = None
        self.forgets_outcomes = False
        # `called` is set by each call. While a test has cleared `may_answer`, answers wait.
        self.called = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0) -> int:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0)])
        add_RevocationServiceServicer_to_server(self, self._server)
        add_ScannerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def RevokeTickets(  # noqa: N802 - the contract's name
        self, request: pb.RevokeTicketsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RevokeTicketsResponse:
        """Settle the revocations, then answer once `may_answer` is set."""
        self.calls.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        if self.fails_with is not None:
            await context.abort(self.fails_with, "as the test asked for")
        if self.locked and not request.skip_locked:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "a ticket is locked")
        outcomes = [
            pb.RevocationOutcome(ticket_id=revocation.ticket_id, undecided=True)
            if revocation.ticket_id in self.locked
            else self._settle(revocation)
            for revocation in request.revocations
        ]
        self.called.set()
        await self.may_answer.wait()
        return pb.RevokeTicketsResponse(outcomes=[] if self.forgets_outcomes else outcomes)

    async def RevokeEvent(  # noqa: N802 - the contract's name
        self, request: pb.RevokeEventRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RevokeEventResponse:
        if self.fails_with is not None:
            await context.abort(self.fails_with, "as the test asked for")
        self.closed.append(request.event_id)
        return pb.RevokeEventResponse(checked_in=len(self.admitted))

    async def EraseScanner(  # noqa: N802 - the contract's name
        self, request: scanner_service_pb2.EraseScannerRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> scanner_service_pb2.EraseScannerResponse:
        if self.fails_with is not None:
            await context.abort(self.fails_with, "as the test asked for")
        self.erased.append(request.user_id)
        return scanner_service_pb2.EraseScannerResponse()

    def _settle(self, revocation: pb.Revocation) -> pb.RevocationOutcome:
        if revocation.revocation_id not in self.settled:
            # A reissue succeeds also for a checked-in ticket.
            time = None if revocation.even_if_checked_in else self.admitted.get(revocation.ticket_id)
            outcome = pb.RevocationOutcome(ticket_id=revocation.ticket_id, revoked=time is None)
            if time is not None:
                outcome.check_in_time.FromDatetime(time)
            self.settled[revocation.revocation_id] = outcome
        return self.settled[revocation.revocation_id]
