"""Calls of the ticket service that it refuses or does not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from scan_service.adapters.tickets import TicketService
from ticketing.chassis.failures import Failure
from ticketing.chassis.peer_client import PeerClient
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import (
    TicketFeedServiceServicer,
    add_TicketFeedServiceServicer_to_server,
)


@asynccontextmanager
async def refusing(code: grpc.StatusCode) -> AsyncIterator[TicketService]:
    """Serve a ticket service that ends every call with `code`."""

    class Refusing(TicketFeedServiceServicer):
        async def GetSigningKeys(self, request: Any, context: Any) -> Any:  # noqa: N802 - a method of the contract
            await context.abort(code, "")

    server = grpc.aio.server()
    add_TicketFeedServiceServicer_to_server(Refusing(), server)  # type: ignore[abstract]  # one call is enough
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peer = PeerClient(f"127.0.0.1:{port}", "p" * 32)
    yield TicketService(peer)
    await peer.close()
    await server.stop(None)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            grpc.StatusCode.UNAUTHENTICATED,
            "the ticket service does not accept the secret or certificate of this service",
        ),
        (grpc.StatusCode.UNAVAILABLE, "the ticket service did not answer; try again"),
    ],
)
async def test_a_refused_secret_is_told_from_an_outage(code: grpc.StatusCode, message: str) -> None:
    async with refusing(code) as tickets:
        with pytest.raises(Failure) as caught:
            await tickets.signing_keys()
    assert caught.value.message == message
