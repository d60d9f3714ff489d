"""The channel of a program with threads: every call on it gets a deadline, a token, an id and typed exceptions."""

# grpcio's types are generic in its stubs only.
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from ticketing.client.call_details import CALL_SECONDS, Metadata, id_of, metadata_of, options_of, refused_token
from ticketing.client.errors import error_of
from ticketing.client.request_ids import fill_request_id
from ticketing.client.tokens import Tokens, TokenSource


def connect(
    address: str,
    token: TokenSource = "",
    *,
    credentials: grpc.ChannelCredentials | None = None,
    plain_text: bool = False,
    call_seconds: float = CALL_SECONDS,
) -> grpc.Channel:
    """Open a channel for the generated stubs; it connects with the first call.

    Args:
        address: "host:port" of the ticket service or the scan service.
        token: the access token, or a function that returns one. The channel calls the function again before the token
            expires and once after a service refused it. The function bounds its own time. Empty: the calls have no
            credential, as `DeviceService.EnrollDevice` needs none.
        credentials: of TLS, for example `grpc.ssl_channel_credentials` with the certificate of an own authority.
            Default: TLS with the authorities of gRPC.
        plain_text: connect without TLS, which services allow on their own machine only.
        call_seconds: the deadline of each unary call that states none. A stream has no deadline unless the call states
            one: the keepalive of the channel ends it about 7 s after its connection died.
    """
    if plain_text:
        channel = grpc.insecure_channel(address, options=options_of())
    else:
        channel = grpc.secure_channel(address, credentials or grpc.ssl_channel_credentials(), options=options_of())
    return grpc.intercept_channel(channel, _Calls(Tokens(token), call_seconds))


@dataclass(frozen=True, slots=True)
class _CallDetails:
    """The settings that the interceptor changes; gRPC takes every other one from the call itself."""

    timeout: float | None
    metadata: Metadata


class _Calls(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """The interceptor of one channel."""

    def __init__(self, tokens: Tokens, call_seconds: float) -> None:
        self._tokens = tokens
        self._call_seconds = call_seconds

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make a unary call; `result` of what it returns raises a TicketingError."""
        fill_request_id(request)
        timeout = self._call_seconds if client_call_details.timeout is None else client_call_details.timeout
        end = time.monotonic() + timeout

        def begin() -> tuple[Any, Metadata]:
            details = self._details(client_call_details.metadata, max(0.0, end - time.monotonic()))
            return continuation(details, request), details.metadata

        return _UnaryCall(begin, self._tokens)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Open a stream of responses, which raises a TicketingError."""
        fill_request_id(request)
        return self._stream(continuation, client_call_details, request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Open a stream of requests and responses, which raises a TicketingError."""
        return self._stream(continuation, client_call_details, request_iterator)

    def _stream(self, continuation: Any, call: Any, requests: Any) -> _StreamCall:
        details = self._details(call.metadata, call.timeout)
        return _StreamCall(continuation(details, requests), details.metadata, self._tokens)

    def _details(self, metadata: Any, timeout: float | None) -> _CallDetails:
        return _CallDetails(timeout, metadata_of(metadata, self._tokens.get()))


class _UnaryCall:
    """One unary call, also of `future`; everything but its result is that of gRPC's call."""

    def __init__(self, begin: Callable[[], tuple[Any, Metadata]], tokens: Tokens) -> None:
        self._begin = begin
        self._tokens = tokens
        self._is_repeated = False
        self._call, self._metadata = begin()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def result(self, timeout: float | None = None) -> Any:
        """Return the response; repeat the call once if the service refused the token and the source has another."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            refused = refused_token(self._metadata, error)
            if refused is None or self._is_repeated or not self._tokens.replace(refused):
                raise error_of(error, id_of(self._metadata)) from error
        self._is_repeated = True
        self._call, self._metadata = self._begin()
        return self.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception that `result` raises."""
        try:
            self.result(timeout)
        except grpc.RpcError as error:
            return error
        return None


class _StreamCall:
    """One stream; everything but its responses is that of gRPC's call."""

    def __init__(self, call: Any, metadata: Metadata, tokens: Tokens) -> None:
        self._call = call
        self._metadata = metadata
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            self._tokens.drop(refused_token(self._metadata, error))
            raise error_of(error, id_of(self._metadata)) from error
