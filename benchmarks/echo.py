"""The baseline: the gRPC servers, options, event loop and messages of the services, without any work behind them.

gRPC's own environment variables are those of its caller, so that it also shows what gRPC does as it is installed.

`python -m benchmarks.echo PORT SCAN PURCHASE` serves it. SCAN and PURCHASE are files with one serialized answer of each
service, so that the answers of the echo have the same size.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from ticketing.chassis.server import OPTIONS, SERVERS
from ticketing.chassis.thread_priority import lower_network_priority
from ticketing.scans.v1 import scan_service_pb2 as scans
from ticketing.tickets.v1 import purchase_service_pb2 as purchases


def handlers(
    scan: scans.StreamScansResponse, purchase: purchases.PurchaseTicketsResponse
) -> list[grpc.GenericRpcHandler]:
    """Return the two compared RPCs; each copies the id from its request into the prepared answer."""

    async def stream_scans(
        requests: AsyncIterator[scans.StreamScansRequest], context: object
    ) -> AsyncIterator[scans.StreamScansResponse]:
        del context
        async for request in requests:
            answer = scans.StreamScansResponse()
            answer.CopyFrom(scan)
            answer.result.scan_id = request.scan.scan_id
            yield answer

    async def purchase_tickets(
        request: purchases.PurchaseTicketsRequest, context: object
    ) -> purchases.PurchaseTicketsResponse:
        del context
        answer = purchases.PurchaseTicketsResponse()
        answer.CopyFrom(purchase)
        answer.purchase.event_id = request.event_id
        return answer

    streamed = grpc.stream_stream_rpc_method_handler(
        stream_scans,
        request_deserializer=scans.StreamScansRequest.FromString,
        response_serializer=scans.StreamScansResponse.SerializeToString,
    )
    unary = grpc.unary_unary_rpc_method_handler(
        purchase_tickets,
        request_deserializer=purchases.PurchaseTicketsRequest.FromString,
        response_serializer=purchases.PurchaseTicketsResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler("ticketing.scans.v1.ScanService", {"StreamScans": streamed}),
        grpc.method_handlers_generic_handler("ticketing.tickets.v1.PurchaseService", {"PurchaseTickets": unary}),
    ]


async def serve(port: int, scan: bytes, purchase: bytes) -> None:
    """Serve until the process is killed."""
    answers = scans.StreamScansResponse.FromString(scan), purchases.PurchaseTicketsResponse.FromString(purchase)
    servers = [grpc.aio.server(options=OPTIONS) for _ in range(SERVERS)]
    for server in servers:
        server.add_generic_rpc_handlers(handlers(*answers))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
    lower_network_priority()
    await servers[-1].wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), Path(sys.argv[3]).read_bytes()))
