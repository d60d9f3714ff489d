"""The servicer of ReplicaService."""

from typing import Any

from scan_service.convert.replica_position import position_response
from scan_service.use_cases.replica_position import ReplicaPositions
from ticketing.chassis.parsing import read_uuid
from ticketing.scans.v1 import replica_service_pb2 as pb
from ticketing.scans.v1.replica_service_pb2_grpc import ReplicaServiceServicer


class ReplicaServicer(ReplicaServiceServicer):
    """Serves ReplicaService to the ticket service."""

    def __init__(self, positions: ReplicaPositions) -> None:
        self._positions = positions

    async def GetReplicaPosition(  # noqa: N802 - the contract's name
        self, request: pb.GetReplicaPositionRequest, _context: Any
    ) -> pb.GetReplicaPositionResponse:
        """Return the position for one event."""
        return position_response(await self._positions.get(read_uuid(request, "event_id")))
