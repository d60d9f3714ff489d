"""The state that a restored ticket service reads from the scans database."""

import uuid

import pytest

from scan_service.store.tables import events, feed_cursors, retired_keys, tickets
from tests.scanning.gates import DAY, NOW
from ticketing.scans.v1 import recovery_service_pb2 as pb
from ticketing.scans.v1 import revocation_service_pb2
from ticketing.scans.v1.recovery_service_pb2_grpc import RecoveryServiceStub
from ticketing.tickets.v1 import event_pb2, ticket_pb2


@pytest.fixture
def stub(service):
    return RecoveryServiceStub(service.channel)


async def test_every_event_is_listed_page_by_page(stub, service, database):
    event_ids = sorted(database.event() for _ in range(3))
    database.insert(feed_cursors, event_id=event_ids[0], revision=7)
    database.insert(
        events,
        event_id=(closed := uuid.UUID(int=2**128 - 1)),
        organizer_id="",
        name="",
        status="CANCELLED",
        admission_policy="SINGLE_ENTRY",
        generation=0,
        revision=0,
        closed=True,
    )
    found = list[pb.KnownEvent]()
    while True:
        after = found[-1].event_id if found else ""
        request = pb.ListKnownEventsRequest(after_event_id=after, max_events=2)
        page = (await stub.ListKnownEvents(request, metadata=service.peer, timeout=20)).events
        if not page:
            break
        found += page
    assert [one.event_id for one in found] == [str(one) for one in (*event_ids, closed)]
    assert [one.revision for one in found] == [7, 0, 0, 0]
    assert (found[0].name, found[0].organizer_id, found[0].closed) == ("Concert", "orga", False)
    assert found[0].status == event_pb2.EVENT_STATUS_PUBLISHED
    assert (found[3].closed, found[3].HasField("valid_from_time")) == (True, False)


async def test_tickets_have_issue_check_in_and_revocations(stub, service, database):
    event_id = database.event()
    entered, cancelled = database.ticket(event_id), database.ticket(event_id)
    scan = await service.scan(event_id, entered.token)
    revocation_id = str(uuid.uuid4())
    revocation = revocation_service_pb2.Revocation(
        revocation_id=revocation_id,
        ticket_id=str(cancelled.ticket_id),
        status=ticket_pb2.TICKET_STATUS_REFUNDED,
        issue=2,
    )
    request = revocation_service_pb2.RevokeTicketsRequest(event_id=str(event_id), revocations=[revocation])
    await service.revocations.RevokeTickets(request, metadata=service.peer)
    # The gate has never heard of this ticket, and admits it by its signature.
    unknown = database.unknown(event_id)
    await service.scan(event_id, unknown.token)

    listing = pb.ListKnownTicketsRequest(event_id=str(event_id))
    page = (await stub.ListKnownTickets(listing, metadata=service.peer, timeout=20)).tickets
    assert [one.ticket_id for one in page] == sorted(one.ticket_id for one in page)
    found = {one.ticket_id: one for one in page}
    assert len(found) == 3
    inside = found[str(entered.ticket_id)]
    assert (inside.check_in_time, inside.sequence, inside.issue) == (scan.scan_time, 1, 1)
    assert inside.status == ticket_pb2.TICKET_STATUS_ACTIVE
    gone = found[str(cancelled.ticket_id)]
    assert (gone.status, gone.issue) == (ticket_pb2.TICKET_STATUS_REFUNDED, 2)
    assert [(one.revocation_id, one.HasField("check_in_time")) for one in gone.revocations] == [(revocation_id, False)]
    assert not found[str(unknown.ticket_id)].is_replicated
    assert found[str(unknown.ticket_id)].ticket_type == event_pb2.TICKET_TYPE_STANDARD


async def test_tickets_are_listed_page_by_page(stub, service, database):
    event_id = database.event()
    sold = sorted(str(database.ticket(event_id).ticket_id) for _ in range(3))
    database.ticket(database.event())
    found = list[str]()
    for size in (2, 1, 0):
        after = found[-1] if found else ""
        request = pb.ListKnownTicketsRequest(event_id=str(event_id), after_ticket_id=after, max_tickets=2)
        page = (await stub.ListKnownTickets(request, metadata=service.peer, timeout=20)).tickets
        assert len(page) == size
        found += [one.ticket_id for one in page]
    assert found == sold
    assert len(database.rows(tickets.name)) == 4


async def test_retired_keys_are_listed_by_their_public_key(stub, service, database):
    lost = bytes(range(32))
    for key in (lost, bytes(database.key.verify_key)):
        database.insert(retired_keys, public_key=key, retire_time=NOW - DAY)
    listed = await stub.ListKnownKeys(pb.ListKnownKeysRequest(), metadata=service.peer, timeout=20)
    assert [(one.key_id, one.HasField("retire_time")) for one in listed.keys] == [(1, True)]
    assert {one.public_key for one in listed.retired_keys} == {lost, bytes(database.key.verify_key)}
