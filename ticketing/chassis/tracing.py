"""Traces by OpenTelemetry, off unless OTEL_* variables turn them on; without them nothing of OpenTelemetry is imported.

A call is a span, and what it waits for are spans below it: batches, transactions, statements, the other service. W3C
`traceparent` is read from the metadata of identified callers and passed on. A stream lasts for hours, so each of its
messages has a trace of its own, with a link to that of the stream. Attributes contain ids and statements, no values.

The spans are made here and not by the instrumentation packages, which record peers and exceptions with their values,
know no batches, and wrap every call also where it is not sampled.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from grpc.aio import Metadata

from ticketing.chassis.failures import Failure
from ticketing.chassis.settings import Environment, SettingsError
from ticketing.chassis.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context.context import Context
    from opentelemetry.trace import Span, SpanContext, SpanKind
    from sqlalchemy.engine import Engine, ExceptionContext

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
STATEMENT: Final = "SQL"
# The name of the thread that exports the last spans.
STOPPING: Final = "tracing stop"
# A stop waits no longer for a collector; the spans that are left are lost.
FLUSH_SECONDS: Final = 2.0
NO_PACKAGE: Final = (
    "turns tracing on, and OpenTelemetry is not installed: run `pip install 'ticketing-server[tracing]'`"
)
_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


def read_tracing(environment: Environment) -> bool:
    """Read whether tracing is on: an endpoint or an exporter is set. OpenTelemetry itself reads the other variables."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    named = [name for name in endpoints if environment.optional(name)]
    exporter = environment.choice("OTEL_TRACES_EXPORTER", "otlp" if named else "none", ("otlp", "none"))
    is_disabled = (environment.optional("OTEL_SDK_DISABLED") or "").lower() == "true"
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        environment.choice(name, "http/protobuf", ("http/protobuf",))
    return exporter == "otlp" and not is_disabled


class Tracing:
    """The tracer of this process; the object exists only where tracing is on."""

    def __init__(self, service: str) -> None:
        """Start to export the spans of `service`.

        Raises:
            SettingsError: OpenTelemetry is not installed, or one of its variables is wrong.
        """
        try:
            from opentelemetry import context, trace  # noqa: PLC0415 - the extra `tracing`
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
                TraceContextTextMapPropagator,
            )
        except ImportError as error:
            raise SettingsError(f"OTEL_TRACES_EXPORTER {NO_PACKAGE}") from error
        self._trace, self._context = trace, context
        self._propagator = TraceContextTextMapPropagator()
        attributes: dict[str, Any] = {"service.version": VERSION, "process.pid": os.getpid()}
        if "OTEL_SERVICE_NAME" not in os.environ:
            attributes["service.name"] = service
        try:
            # Its thread exports from a bounded queue; a full queue drops spans and delays no call.
            self._processor = BatchSpanProcessor(OTLPSpanExporter())
            provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        except ValueError as error:
            raise SettingsError(f"the OTEL_* variables are wrong: {error}") from error
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("ticketing", VERSION)
        # The call's stream, to which the traces of its messages link.
        self._stream: ContextVar[SpanContext | None] = ContextVar("stream", default=None)

    def stop(self) -> None:
        """Export the spans that are left, for at most FLUSH_SECONDS."""
        # The processor's own limit is 30 s.
        flushing = threading.Thread(target=self._processor.shutdown, name=STOPPING, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)

    def begin_call(
        self,
        method: str,
        metadata: Iterable[tuple[str, Any]],
        seconds: float,
        attributes: Mapping[str, str],
        *,
        is_stream: bool,
    ) -> "CallTrace":
        """Start the span of a call that began `seconds` ago, below the span that its metadata name."""
        parent = {key: value for key, value in metadata if key in {TRACEPARENT, TRACESTATE} and isinstance(value, str)}
        service, _, name = method.strip("/").partition("/")
        span = self._tracer.start_span(
            method.strip("/"),
            self._propagator.extract(parent, context=self._context.Context()),
            self._trace.SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, **attributes},
            start_time=time.time_ns() - int(seconds * 1e9),
        )
        if is_stream:
            if span.is_recording():
                self._stream.set(span.get_span_context())
            return CallTrace(self, span, None)
        return CallTrace(self, span, self._context.attach(self._trace.set_span_in_context(span)))

    def end_call(self, call: "CallTrace", code: str, reason: str) -> None:
        """End the span of a call."""
        call.span.set_attribute("rpc.grpc.status_code", code)
        if code != "OK":
            call.span.set_attribute("error.type", reason or code)
            call.span.set_status(self._trace.StatusCode.ERROR)
        if call.token is not None:
            self._context.detach(call.token)
        call.span.end()

    def start_request(self, name: str, attributes: Mapping[str, str]) -> "Span":
        """Start the span of a request to a batch: below that of its call, or of its own trace for a message of a stream."""
        stream = self._stream.get()
        links = [] if stream is None else [self._trace.Link(stream)]
        return self._tracer.start_span(name, attributes=attributes, links=links)

    def ending(self, span: "Span") -> Callable[["asyncio.Future[Any]"], None]:
        """Return the callback of a future that ends the span of a request with its answer."""

        def end(answer: "asyncio.Future[Any]") -> None:
            error = None if answer.cancelled() else answer.exception()
            if error is not None:
                self.fail(span, error)
            span.end()

        return end

    @contextmanager
    def batch(self, name: str, requests: Sequence["Span | None"]) -> Iterator[None]:
        """Record a batch below the first of its recorded requests; the others and the batch have links to each other."""
        recorded = [span for span in requests if span is not None and span.is_recording()]
        if not recorded:
            yield
            return
        first, *others = recorded
        links = [self._trace.Link(span.get_span_context()) for span in others]
        attributes = {"batch.size": len(requests)}
        span = self._tracer.start_span(name, self._trace.set_span_in_context(first), attributes=attributes, links=links)
        for other in others:
            other.add_link(span.get_span_context())
        with self.inside(span):
            yield

    @contextmanager
    def below(self, name: str, kind: "SpanKind | None", attributes: Mapping[str, str]) -> Iterator[None]:
        """Record a block below the present span; without a recorded one, nothing is recorded."""
        if not self._trace.get_current_span().is_recording():
            yield
            return
        with self.inside(
            self._tracer.start_span(name, kind=kind or self._trace.SpanKind.INTERNAL, attributes=attributes)
        ):
            yield

    @contextmanager
    def inside(self, span: "Span") -> Iterator[None]:
        """Make a span the present one, and end it after the block."""
        token = self._context.attach(self._trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            self.fail(span, error)
            raise
        finally:
            self._context.detach(token)
            span.end()

    def fail(self, span: "Span", error: BaseException) -> None:
        """Mark a span as failed; the text of an exception may contain values, so only its kind is recorded."""
        kind = error.reason if isinstance(error, Failure) else type(error).__name__
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.StatusCode.ERROR)

    @contextmanager
    def peer_call(self, name: str, metadata: Metadata) -> Iterator[None]:
        """Record a call to the other service, and add the present trace to its metadata, whether it is recorded or not."""
        service, _, method = name.partition("/")
        with self.below(name, self.client, {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            for key, value in carrier.items():
                metadata.add(key, value)
            yield

    def begin_statement(self, text: str) -> "Span | None":
        """Begin the span of a statement without its values; None where the present span is not recorded."""
        if not self._trace.get_current_span().is_recording():
            return None
        attributes = {"db.system.name": "postgresql", "db.query.text": text}
        return self._tracer.start_span(STATEMENT, kind=self.client, attributes=attributes)

    @property
    def client(self) -> "SpanKind":
        """The kind of spans that wait for another program."""
        return self._trace.SpanKind.CLIENT

    def trace_id(self) -> str:
        """Return the id of the present trace; empty without one."""
        context = self._trace.get_current_span().get_span_context()
        return format(context.trace_id, "032x") if context.is_valid else ""


@dataclass(frozen=True, slots=True)
class CallTrace:
    """The span of one call; a stream has no token, because its span is not the present one of its messages."""

    tracing: Tracing
    span: "Span"
    token: "Token[Context] | None"

    @property
    def trace_id(self) -> str:
        """The id of the trace, as log lines show it."""
        return format(self.span.get_span_context().trace_id, "032x")

    def end(self, code: str, reason: str) -> None:
        """End the span with the status of the call."""
        self.tracing.end_call(self, code, reason)


# None: tracing is off. A process sets it once, before it serves.
_tracing: Tracing | None = None


def start(service: str) -> None:
    """Turn tracing on in this process; see Tracing."""
    global _tracing  # noqa: PLW0603 - one tracer for a process, as OpenTelemetry has
    _tracing = Tracing(service)


def stop() -> None:
    """Export the spans that are left, and turn tracing off."""
    global _tracing
    stopping, _tracing = _tracing, None
    if stopping is not None:
        stopping.stop()


def current() -> Tracing | None:
    """Return the tracer; None where tracing is off."""
    return _tracing


def span(name: str, **attributes: str) -> AbstractContextManager[None]:
    """Record a block below the present span."""
    return _NOTHING if _tracing is None else _tracing.below(name, None, attributes)


def batch(name: str, requests: "Sequence[Span | None]") -> AbstractContextManager[None]:
    """Record a batch of requests; see Tracing."""
    return _NOTHING if _tracing is None else _tracing.batch(name, requests)


def record_statements(engine: "Engine") -> None:
    """Record each statement of an engine from now on; tracing is turned on before a program opens its engines."""
    if (tracer := _tracing) is None:
        return
    from sqlalchemy import event  # noqa: PLC0415 - gate devices import no database

    @event.listens_for(engine, "before_cursor_execute")
    def begin(_: object, __: object, text: str, ___: object, context: Any, ____: object) -> None:
        context.recorded = tracer.begin_statement(text)

    @event.listens_for(engine, "after_cursor_execute")
    def end(_: object, __: object, ___: str, ____: object, context: Any, _____: object) -> None:
        if context.recorded is not None:
            context.recorded.end()

    @event.listens_for(engine, "handle_error")
    def fail(failed: "ExceptionContext") -> None:
        recorded = getattr(failed.execution_context, "recorded", None)
        if recorded is not None:
            tracer.fail(recorded, failed.original_exception)
            recorded.end()


def peer_call(name: str, metadata: Metadata) -> AbstractContextManager[None]:
    """Record a call to the other service; see Tracing."""
    return _NOTHING if _tracing is None else _tracing.peer_call(name, metadata)


def statement(text: str) -> AbstractContextManager[None]:
    """Record a round trip to PostgreSQL; `text` has no values."""
    if _tracing is None:
        return _NOTHING
    return _tracing.below(STATEMENT, _tracing.client, {"db.system.name": "postgresql", "db.query.text": text})


def trace_id() -> str:
    """Return the id of the present trace for a log line; empty without one."""
    return "" if _tracing is None else _tracing.trace_id()
