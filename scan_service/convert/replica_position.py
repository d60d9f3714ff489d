"""Conversion of the position of the replica to its message."""

from scan_service.domain.feed import ReplicaPosition
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import replica_service_pb2 as pb


def position_response(position: ReplicaPosition) -> pb.GetReplicaPositionResponse:
    """Build the response of GetReplicaPosition."""
    return pb.GetReplicaPositionResponse(
        epoch=position.epoch,
        revision=position.revision,
        complete_time=timestamp(position.complete_time),
        connected_devices=position.connected_devices,
    )
