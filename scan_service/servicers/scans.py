"""ScanService: deciding at the gate and keeping the record."""

from collections.abc import AsyncIterator
from typing import Any

from chassis.batcher import Batcher
from chassis.calls import current_caller
from scan_service.convert.scans import AttemptReader, scan_message
from scan_service.domain.codes import Codes
from scan_service.domain.scans import Attempt, Scan
from scan_service.stream import Streams
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceServicer


class ScansServicer(ScanServiceServicer):
    """Answers gates and those who read the record.

    Args:
        batcher: decides and records.
        streams: serve gates that stay connected.
        codes: look up typed codes.
    """

    def __init__(self, batcher: Batcher[Attempt, Scan], streams: Streams, codes: Codes) -> None:
        self._batcher = batcher
        self._streams = streams
        self._codes = codes

    async def ScanTicket(self, request: pb.ScanTicketRequest, context: Any) -> pb.ScanTicketResponse:  # noqa: ARG002, N802 - gRPC's
        """Decide and record one scan."""
        attempt = AttemptReader(current_caller(), self._codes).read_request(request)
        return pb.ScanTicketResponse(scan=scan_message(await self._batcher.submit(attempt)))

    def StreamScans(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[pb.StreamScansResponse]:  # noqa: ARG002, N802 - gRPC's
        """Serve a gate's stream."""
        return self._streams.run(request_iterator, current_caller())
