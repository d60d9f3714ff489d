"""A collector of OpenTelemetry for tests: an HTTP server that decodes OTLP and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class RecordedSpan:
    """One exported span; ids are lower-case hex, and an empty parent is that of a root."""

    service: str
    process_id: int
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    # The ids of the spans to which this one has links.
    links: frozenset[str]
    attributes: dict[str, Any]
    is_failed: bool


@dataclass
class Collector:
    """The spans that were exported so far."""

    url: str
    spans: list[RecordedSpan] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[RecordedSpan]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def tree(self, trace_id: str) -> "Tree":
        """Return the tree of a trace, whose root may have a parent that was not exported."""
        spans = self.trace(trace_id)
        known = {span.span_id for span in spans}
        [root] = [span for span in spans if span.parent_id not in known]
        return Tree.of(root, spans)


@dataclass(frozen=True)
class Tree:
    """A span and the spans below it."""

    span: RecordedSpan
    below: "list[Tree]"

    @classmethod
    def of(cls, span: RecordedSpan, spans: list[RecordedSpan]) -> Self:
        return cls(span, [cls.of(child, spans) for child in spans if child.parent_id == span.span_id])

    def find(self, name: str) -> "Tree":
        """Return the only tree below this one whose span has the name."""
        [found] = [tree for tree in self.all() if tree.span.name == name]
        return found

    def all(self) -> "Iterator[Tree]":
        yield self
        for tree in self.below:
            yield from tree.all()


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.bodies.append(body)
            collector.spans.extend(decoded(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def decoded(body: bytes) -> Iterator[RecordedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        facts = values(resource.resource.attributes)
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield RecordedSpan(
                service=facts["service.name"],
                process_id=facts["process.pid"],
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                links=frozenset(link.span_id.hex() for link in span.links),
                attributes=values(span.attributes),
                is_failed=span.status.code == span.status.STATUS_CODE_ERROR,
            )


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
