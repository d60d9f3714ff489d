"""The position of the replica that the ticket service asks for."""

import uuid
from datetime import UTC, timedelta

from scan_service.store.tables import devices, feed, feed_cursors
from tests.scanning.gates import NOW
from ticketing.scans.v1 import replica_service_pb2 as pb
from ticketing.scans.v1.replica_service_pb2_grpc import ReplicaServiceStub


async def position(service, event_id) -> pb.GetReplicaPositionResponse:
    request = pb.GetReplicaPositionRequest(event_id=str(event_id))
    return await ReplicaServiceStub(service.channel).GetReplicaPosition(request, metadata=service.peer)


async def test_the_position_of_an_event_that_never_arrived_is_absent(service) -> None:
    assert await position(service, uuid.uuid4()) == pb.GetReplicaPositionResponse()


async def test_the_position_has_revision_epoch_and_completion(database, service) -> None:
    event_id = database.event()
    database.insert(feed_cursors, event_id=event_id, revision=42)
    database.update(feed, epoch="first.2", whole_time=NOW)
    found = await position(service, event_id)
    assert (found.epoch, found.revision) == ("first.2", 42)
    assert found.complete_time.ToDatetime(tzinfo=UTC) == NOW


async def test_connected_devices_of_the_event_are_counted(database, service) -> None:
    event_id, other = database.event(), database.event()
    now = database.value("SELECT now()")
    for gate, connected_until, revoke_time in (
        (event_id, now + timedelta(hours=1), None),
        (event_id, now + timedelta(hours=1), None),
        (event_id, now - timedelta(seconds=1), None),
        (event_id, now + timedelta(hours=1), now),
        (other, now + timedelta(hours=1), None),
    ):
        database.insert(
            devices,
            device_id=uuid.uuid4(),
            organizer_id="orga",
            name="Handheld",
            event_ids=[],
            create_time=now,
            code_digest=uuid.uuid4().bytes,
            gate_event_id=gate,
            gate_location="North",
            gate_types=[],
            connected_until=connected_until,
            revoke_time=revoke_time,
        )
    assert (await position(service, event_id)).connected_devices == 2
