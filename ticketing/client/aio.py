"""The channel of a program with asyncio: every call on it gets a deadline, a token, an id and typed exceptions."""

# grpcio's types are generic in its stubs only.
from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from ticketing.client.call_details import CALL_SECONDS, Metadata, id_of, metadata_of, options_of, refused_token
from ticketing.client.errors import error_of
from ticketing.client.request_ids import fill_request_id
from ticketing.client.tokens import AsyncTokens, AsyncTokenSource


def connect(
    address: str,
    token: AsyncTokenSource = "",
    *,
    credentials: grpc.ChannelCredentials | None = None,
    plain_text: bool = False,
    call_seconds: float = CALL_SECONDS,
) -> grpc.aio.Channel:
    """Open a channel for the generated stubs; the arguments are those of `ticketing.client.connect`.

    The function that returns a token may be a coroutine function. One that blocks would stop the event loop.
    """
    tokens = AsyncTokens(token)
    interceptors: list[Any] = [kind(tokens, call_seconds) for kind in (_UnaryCalls, _WatchCalls, _StreamCalls)]
    if plain_text:
        return grpc.aio.insecure_channel(address, options=options_of(), interceptors=interceptors)
    return grpc.aio.secure_channel(
        address, credentials or grpc.ssl_channel_credentials(), options=options_of(), interceptors=interceptors
    )


class _Calls:
    """An interceptor of one channel; grpc.aio takes one for each kind of call."""

    def __init__(self, tokens: AsyncTokens, call_seconds: float) -> None:
        self._tokens = tokens
        self._call_seconds = call_seconds

    async def _details(self, call: Any, seconds: float | None) -> tuple[Any, Metadata]:
        """Return the settings of a call as gRPC reads them, and its metadata."""
        metadata = metadata_of(call.metadata, await self._tokens.get())
        return call._replace(timeout=seconds, metadata=grpc.aio.Metadata(*metadata)), metadata

    async def _responses(self, call: Any, metadata: Metadata) -> AsyncIterator[Any]:
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            self._tokens.drop(refused_token(metadata, error))
            raise error_of(error, id_of(metadata)) from error


class _UnaryCalls(_Calls, grpc.aio.UnaryUnaryClientInterceptor):
    """The interceptor of unary calls."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make a unary call; repeat it once if the service refused the token and the source has another one."""
        fill_request_id(request)
        timeout = self._call_seconds if client_call_details.timeout is None else client_call_details.timeout
        end, is_repeated = time.monotonic() + timeout, False
        while True:
            details, metadata = await self._details(client_call_details, max(0.0, end - time.monotonic()))
            call = await continuation(details, request)
            try:
                await call
            except grpc.aio.AioRpcError as error:
                refused = refused_token(metadata, error)
                if refused is None or is_repeated or not await self._tokens.replace(refused):
                    raise error_of(error, id_of(metadata)) from error
                is_repeated = True
            else:
                return call


class _WatchCalls(_Calls, grpc.aio.UnaryStreamClientInterceptor):
    """The interceptor of streams of responses."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Open a stream of responses, which raises a TicketingError."""
        fill_request_id(request)
        details, metadata = await self._details(client_call_details, client_call_details.timeout)
        return self._responses(await continuation(details, request), metadata)


class _StreamCalls(_Calls, grpc.aio.StreamStreamClientInterceptor):
    """The interceptor of streams of requests and responses."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Open a stream of requests and responses, which raises a TicketingError."""
        details, metadata = await self._details(client_call_details, client_call_details.timeout)
        return self._responses(await continuation(details, request_iterator), metadata)
