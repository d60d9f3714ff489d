"""Both kinds of channel behind one function."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ticketing.client import aio, connect
from ticketing.tickets.v1 import event_service_pb2_grpc, purchase_service_pb2_grpc


class Stubs:
    """The stubs of the ticket service on one channel."""

    def __init__(self, channel: Any) -> None:
        self.events: Any = event_service_pb2_grpc.EventServiceStub(channel)
        self.purchases: Any = purchase_service_pb2_grpc.PurchaseServiceStub(channel)


class Caller(Protocol):
    """One kind of channel: it opens a channel to the address, and makes calls on it one after the other."""

    def __call__(self, address: str, token: Any, *calls: Callable[[Stubs], Any], **settings: Any) -> list[Any]: ...


def with_threads(address: str, token: Any, *calls: Callable[[Stubs], Any], **settings: Any) -> list[Any]:
    with connect(address, token, plain_text=True, **settings) as channel:
        stubs = Stubs(channel)
        return [call(stubs) for call in calls]


def with_asyncio(address: str, token: Any, *calls: Callable[[Stubs], Awaitable[Any]], **settings: Any) -> list[Any]:
    async def run() -> list[Any]:
        async with aio.connect(address, token, plain_text=True, **settings) as channel:
            stubs = Stubs(channel)
            return [await call(stubs) for call in calls]

    return asyncio.run(run())
