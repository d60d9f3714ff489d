"""The interceptor of every call: request id, authentication, policy, limits, errors, log and metrics.

An interceptor that wraps a streaming handler without iterating it lets errors escape as UNKNOWN. Hence the two kinds of
wrapper below: one awaits the handler, one iterates it.
"""

# grpcio's types are generic in its stubs only.
from __future__ import annotations

import asyncio
import inspect
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Histogram
from uuid_utils import uuid7

from ticketing.chassis import tracing
from ticketing.chassis.authentication import Attempt, Authenticator, authorizations, bearer_token
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import FORBIDDEN, OVERLOADED, UNAUTHENTICATED, Failure, invalid, unauthenticated
from ticketing.chassis.ids import new_id
from ticketing.chassis.limits import CallLimiter
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.statuses import REASON_PREFIX, Catalogue, internal_status
from ticketing.chassis.tls import certified_names
from ticketing.chassis.waits import FACTS, CallFacts, ids_of

log = logging.getLogger(__name__)

REQUEST_ID_KEY: Final = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._:/+=@-]{1,64}")

CALLS = Counter("grpc_server_calls_total", "Calls that ended, by their status.", ["method", "code"])
SECONDS = Histogram(
    "grpc_server_seconds", "Time from the arrival of a call to its answer or the end of its stream.", ["method"]
)
FAILED = Counter(
    "grpc_server_failures_total",
    "Calls that ended with an error, by its reason as on the wire; `INTERNAL`: an unexpected exception.",
    ["method", "reason"],
)
# The caches need no bound: only methods that exist reach them.
_counter, _timer, _failure = cache(CALLS.labels), cache(SECONDS.labels), cache(FAILED.labels)

# The default of TICKETING_SLOW_CALL_SECONDS.
SLOW_SECONDS: Final = 1.0
# This value replaces a message whose bytes do not decode: invalid UTF-8, truncated, garbage.
MALFORMED: Final = object()

# The services of grpcio itself. Their calls need no credential and have no limit: load balancers check health under any
# load, and the schema that reflection serves is public.
INFRASTRUCTURE: Final = ("/grpc.health.v1.", "/grpc.reflection.v1.", "/grpc.reflection.v1alpha.")

# The roles of a method that needs no credential.
PUBLIC: Final = frozenset[Role]()
Policy = Mapping[str, frozenset[Role]]
Metadata = Collection[tuple[str, "str | bytes"]]
LocalTokenVerifier = Callable[[str, Attempt], Awaitable[Caller | None]]

_CALLER: ContextVar[Caller] = ContextVar("caller")
# The metadata of the call: the same task looks its handler up and runs it.
_METADATA: ContextVar[Metadata] = ContextVar("metadata")


def current_caller() -> Caller:
    """Return the authenticated caller of the RPC that this task serves, with the roles that the RPC admits.

    Raises:
        LookupError: the task serves no RPC, or the RPC is public.
    """
    return _CALLER.get()


def log_refused_messages(text: str, reason: str, **facts: object) -> None:
    """Log that messages of the present stream were refused, with the caller and the ids of the stream."""
    fields: dict[str, object] = {"reason": REASON_PREFIX + reason, **facts}
    if (caller := _CALLER.get(None)) is not None:
        fields |= {"caller": caller.subject, "role": _role(caller)}
    if (of_stream := FACTS.get()) is not None:
        fields |= of_stream.ids
    log.log(logging.WARNING if reason == OVERLOADED else logging.INFO, text, extra=fields)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that wraps all handlers except health and reflection.

    A streaming handler is an async generator, or a coroutine function that reads and writes by the context.

    Args:
        policy: the roles of each method by its full name; a method without an entry is denied.
        limiter: limits calls, streams and failed authentication; messages within a stream have limits of their own.
        verify_local_token: verifies a token that the service itself issued, an unknown one within the given context;
            returns None for any other token.
        slow_seconds: the duration from which on the log has a line about a unary call.
        check_method: raises the Failure with which a method is refused at present, to callers that may call it.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what an interceptor needs
        self,
        authenticator: Authenticator,
        policy: Policy,
        catalogue: Catalogue,
        limiter: CallLimiter,
        verify_local_token: LocalTokenVerifier | None = None,
        slow_seconds: float = SLOW_SECONDS,
        check_method: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._check_method = check_method
        self._authenticator = authenticator
        self._policy = policy
        self._catalogue = catalogue
        self._limiter = limiter
        self._verify_local_token = verify_local_token
        self._slow_seconds = slow_seconds
        # The wrapped handlers by method; only methods that exist are here.
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        # A rate needs a sample before the first error.
        for method in policy:
            _failure(method, "INTERNAL")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler of the call."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(INFRASTRUCTURE):
                return handler
            wrapped = self._wrapped[method] = self._wrap(handler, method)
        _METADATA.set(handler_call_details.invocation_metadata or ())
        return wrapped

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        codec = _codec(handler)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._wrap_unary(handler.unary_unary, method), *codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._wrap_stream(handler.unary_stream, method), *codec)
        return grpc.stream_stream_rpc_method_handler(self._wrap_stream(handler.stream_stream, method), *codec)

    def _wrap_unary(self, handler: Any, method: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            metadata = _METADATA.get()
            async with _CallCompletion(method, context, self._catalogue, self._slow_seconds) as ending:
                caller = await self._authorize(method, metadata, context)
                ending.begin(caller, request, metadata)
                _check_decoded(request)
                if caller is None:
                    peer = self._limiter.peer(context.peer(), metadata)
                    return await self._exchange(handler, request, context, peer)
                with self._limiter.call(caller):
                    return await handler(request, context)

        return call

    def _wrap_stream(self, handler: Any, method: str) -> Any:
        async def generate(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            # Close the handler here, not in the garbage collector: its `finally` must run at once.
            async with (
                self._stream(request, context, method),
                aclosing(handler(request, context)) as responses,
            ):
                async for response in responses:
                    yield response

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            async with self._stream(request, context, method):
                await handler(request, context)

        return call if inspect.iscoroutinefunction(handler) else generate

    @asynccontextmanager
    async def _stream(
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any], method: str
    ) -> AsyncIterator[None]:
        metadata = _METADATA.get()
        async with _CallCompletion(method, context, self._catalogue, math.inf) as ending:
            caller = await self._authorize(method, metadata, context)
            ending.begin(caller, request, metadata, is_stream=True)
            _check_decoded(request)
            with self._limiter.stream(caller, self._limiter.peer(context.peer(), metadata)):
                async with self._end_at_expiry(caller):
                    yield

    async def _authorize(
        self, method: str, metadata: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Caller | None:
        """Authenticate and authorize the caller; return None for a public method."""
        REQUEST_ID.set(_request_id(metadata))
        roles = self._policy.get(method)
        if roles is not None and not roles:
            return None
        caller = await self._caller(metadata, context)
        # The log names a caller without the role too.
        _CALLER.set(caller)
        if roles is None or roles.isdisjoint(caller.roles):
            role = _role(caller)
            raise Failure(FORBIDDEN, f"{method} is not for the role {role}", method=method, role=role)
        if not caller.roles <= roles:
            # A role counts only where the method names it: a caller with two roles must not reach the objects of the one by
            # the methods of the other.
            _CALLER.set(replace(caller, roles=caller.roles & roles))
        self._check_method(method)
        return caller

    @asynccontextmanager
    async def _end_at_expiry(self, caller: Caller | None) -> AsyncIterator[None]:
        """End a stream when the caller's credential expires, also while no messages arrive."""
        until = asyncio.timeout(None if caller is None else self._authenticator.seconds_left(caller))
        try:
            async with until:
                yield
        except TimeoutError as error:
            if until.expired():
                raise unauthenticated("the token has expired") from error
            raise

    async def _caller(self, metadata: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        """Authenticate the caller; a known credential is answered from memory, before any address is read."""

        def peer() -> str:
            return self._limiter.peer(context.peer(), metadata)

        def attempt() -> AbstractContextManager[None]:
            return self._limiter.failures.attempt(peer())

        try:
            if self._verify_local_token is not None and authorizations(metadata):
                caller = await self._verify_local_token(bearer_token(metadata), attempt)
                if caller is not None:
                    return caller
            return await self._authenticator.authenticate(
                metadata, lambda: certified_names(context.auth_context()), attempt
            )
        except Failure as failure:
            await self._limiter.failures.refuse(peer(), failure)
            raise

    async def _exchange(
        self, handler: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any], peer: str
    ) -> Any:
        """Serve a public call, which exchanges a credential: its refusal counts as failed authentication."""
        try:
            with self._limiter.failures.attempt(peer), self._limiter.call(None, peer):
                return await handler(request, context)
        except Failure as failure:
            await self._limiter.failures.refuse(peer, failure)
            raise


class _CallCompletion:
    """A context that converts a handler's exception to a status, then counts, records and logs the result of the call."""

    def __init__(
        self,
        method: str,
        context: grpc.aio.ServicerContext[Any, Any],
        catalogue: Catalogue,
        slow_seconds: float,
    ) -> None:
        self._method = method
        self._context = context
        self._catalogue = catalogue
        self._slow_seconds = slow_seconds
        self._begin = time.perf_counter()
        # None: a refusal is one of the caller's credential, which `FailedAuthentications` logs within bounds.
        self._caller: Caller | None = None
        self._request: Any = None
        self._facts = CallFacts()
        FACTS.set(self._facts)
        self._trace: tracing.CallTrace | None = None

    def begin(self, caller: Caller | None, request: Any, metadata: Any, *, is_stream: bool = False) -> None:
        """Note the identified caller, and continue its trace; others may not decide that their calls are recorded."""
        self._caller, self._request = caller, request
        if caller is not None and (tracer := tracing.current()) is not None:
            seconds = time.perf_counter() - self._begin
            facts = {"role": _role(caller), "x_request_id": REQUEST_ID.get(), **ids_of(request)}
            self._trace = tracer.begin_call(self._method, metadata, seconds, facts, is_stream=is_stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._record("OK")
        elif isinstance(error, Failure):
            status = self._catalogue.status(error)
            self._record(status.code.name, reason=error.reason)
            await self._context.abort_with_status(status)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            # The caller disconnected, or its deadline passed. The exception must propagate to end the handler's task.
            self._record("CANCELLED")
        elif isinstance(error, grpc.aio.AbortError):
            self._record("ABORTED_BY_HANDLER")
        elif isinstance(error, NotImplementedError):
            # The servicer lacks this RPC: the base class that protoc generates raises this after it has set the status.
            self._record("UNIMPLEMENTED")
            await self._context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{self._method} is not implemented")
        else:
            error_id = str(new_id())
            log.error("unexpected exception", exc_info=error, extra={"error_id": error_id, "method": self._method})
            _failure(self._method, "INTERNAL").inc()
            self._record("INTERNAL", error_id=error_id)
            await self._context.abort_with_status(internal_status(error_id))

    def _record(self, code: str, reason: str = "", **facts: str) -> None:
        seconds = time.perf_counter() - self._begin
        _counter(self._method, code).inc()
        _timer(self._method).observe(seconds)
        if reason:
            _failure(self._method, reason).inc()
        # The answer to a refused credential is delayed on purpose.
        is_slow = seconds >= self._slow_seconds and not self._is_refused_credential(reason)
        if code != "OK" or is_slow or log.isEnabledFor(logging.DEBUG):
            self._log(code, reason, seconds, facts, is_slow=is_slow)
        if self._trace is not None:
            self._trace.end(code, reason)

    def _log(self, code: str, reason: str, seconds: float, facts: Mapping[str, str], *, is_slow: bool) -> None:
        is_routine = code == "OK" or self._is_refused_credential(reason)
        level = logging.DEBUG if is_routine else logging.WARNING if reason == OVERLOADED else logging.INFO
        fields: dict[str, object] = {"method": self._method, "code": code, "milliseconds": round(seconds * 1000, 3)}
        if reason:
            fields["reason"] = REASON_PREFIX + reason
        # A caller without the role of the method is known too.
        if (caller := self._caller or _CALLER.get(None)) is not None:
            fields |= {"caller": caller.subject, "role": _role(caller)}
        fields |= {**ids_of(self._request), **self._facts.ids, **facts}
        if self._trace is not None:
            fields["trace_id"] = self._trace.trace_id
        if is_slow:
            level = logging.WARNING
            fields["waited_milliseconds"] = {what: round(1000 * s, 3) for what, s in self._facts.seconds.items()}
        log.log(level, "a slow call ended" if is_slow else "call ended", extra=fields)

    def _is_refused_credential(self, reason: str) -> bool:
        """Return whether `FailedAuthentications` logs the refusal, within bounds by address."""
        return self._caller is None and reason in {UNAUTHENTICATED, OVERLOADED}


def _role(caller: Caller) -> str:
    return ",".join(sorted(caller.roles))


def _codec(handler: grpc.RpcMethodHandler[Any, Any]) -> tuple[Any, Any]:
    """Replace an undecodable message by MALFORMED: gRPC itself would answer INTERNAL without details."""
    decode = handler.request_deserializer

    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data) if decode else data
        except DecodeError:
            return MALFORMED

    return decode_or_mark, handler.response_serializer


def _check_decoded(request: Any) -> None:
    if request is MALFORMED:
        raise invalid("", "the message is not of this type: truncated, garbage, or invalid UTF-8")


def _request_id(metadata: Any) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID_FORM.fullmatch(value):
            return value
    # A fifth of the time of `new_id`, whose UUID other code computes with.
    return str(uuid7())
