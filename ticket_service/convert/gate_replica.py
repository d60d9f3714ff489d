"""Conversion of the position of the gates, from the scan service and to callers."""

from datetime import UTC
from uuid import UUID

from ticket_service.domain.gate_replica import GateReplica, ReplicaPosition
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import replica_service_pb2
from ticketing.tickets.v1 import event_service_pb2 as pb


def read_request(request: pb.GetGateReplicaRequest) -> tuple[UUID, UUID | None]:
    """Read the event and the ticket of a GetGateReplicaRequest."""
    fields = Fields(request)
    event_id, ticket_id = fields.uuid("event_id"), fields.optional_uuid("ticket_id")
    fields.check()
    return event_id, ticket_id


def gate_replica_message(replica: GateReplica) -> pb.GetGateReplicaResponse:
    """Build the response."""
    head, position = replica.head, replica.position
    return pb.GetGateReplicaResponse(
        known=replica.known,
        answered=position is not None,
        revision=head.revision,
        ticket_revision=head.ticket_revision,
        gates_revision=replica.gates_revision,
        complete_time=None if position is None else timestamp(position.complete_time),
        follow_time=timestamp(head.follow_time),
        connected_devices=0 if position is None else position.connected_devices,
    )


def position_request(event_id: UUID) -> replica_service_pb2.GetReplicaPositionRequest:
    """Build the request for the position of an event."""
    return replica_service_pb2.GetReplicaPositionRequest(event_id=str(event_id))


def read_position(response: replica_service_pb2.GetReplicaPositionResponse) -> ReplicaPosition:
    """Read the scan service's answer."""
    return ReplicaPosition(
        epoch=response.epoch,
        revision=response.revision if response.HasField("revision") else None,
        complete_time=response.complete_time.ToDatetime(tzinfo=UTC) if response.HasField("complete_time") else None,
        connected_devices=response.connected_devices,
    )
