"""The servicer of ErasureService."""

from typing import Any

from ticket_service.convert.erasures import erasure_message, read_erase
from ticket_service.use_cases.erasures import Erasures
from ticketing.chassis.interceptor import current_caller
from ticketing.tickets.v1 import erasure_service_pb2 as pb
from ticketing.tickets.v1.erasure_service_pb2_grpc import ErasureServiceServicer


class ErasureServicer(ErasureServiceServicer):
    """Serves ErasureService."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures

    async def Erase(self, request: pb.EraseRequest, _context: Any) -> pb.EraseResponse:  # noqa: N802 - the contract's name
        """Erase a user or an address."""
        kind, subject = read_erase(request)
        erasure = await self._erasures.erase(current_caller(), kind, subject)
        return pb.EraseResponse(erasure=erasure_message(erasure))
