"""A gRPC server that answers every call as a test says, and records the calls."""

# grpcio's types are generic in its stubs only.
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from ticketing.chassis.failures import Failure
from ticketing.chassis.statuses import Catalogue


@dataclass(frozen=True)
class ReceivedCall:
    """One call as the server received it."""

    method: str
    request: bytes
    metadata: dict[str, str]
    # The time that the caller left, in seconds; None without a deadline.
    seconds_left: float | None


Answer = Callable[[ReceivedCall], bytes]


class ScriptedService(grpc.GenericRpcHandler):
    """A server for unary calls and streams; `answers` answer them in their order, and the last one every later call."""

    def __init__(self, catalogue: Catalogue, credentials: grpc.ServerCredentials | None = None) -> None:
        self._catalogue = catalogue
        self.calls: list[ReceivedCall] = []
        self.answers: list[Answer] = [lambda _: b""]
        self.streams: set[str] = set()
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        port = (
            self._server.add_insecure_port("127.0.0.1:0")
            if credentials is None
            else self._server.add_secure_port("127.0.0.1:0", credentials)
        )
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = str(handler_call_details.method)
        metadata = {key: str(value) for key, value in handler_call_details.invocation_metadata}

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            left = context.time_remaining()
            # Without a deadline gRPC reports some centuries.
            self.calls.append(ReceivedCall(method, request, metadata, left if left and left < 1e6 else None))
            scripted = self.answers[min(len(self.calls), len(self.answers)) - 1]
            try:
                return scripted(self.calls[-1])
            except Failure as failure:
                context.abort_with_status(self._catalogue.status(failure))

        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for request in requests:
                yield answer(request, context)

        if method.rpartition("/")[2] in self.streams:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


def refusing(*arguments: Any, **fields: Any) -> Answer:
    """Return an answer that is a refusal; the arguments are those of Failure."""

    def answer(_: ReceivedCall) -> bytes:
        raise Failure(*arguments, **fields)

    return answer
