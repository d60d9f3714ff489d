"""Tests of scans over a real socket on a real database."""

import asyncio
import uuid

import grpc

from scan_service.store.tables import events, scans
from tests.environment.refusals import refusal
from tests.environment.waiting import until
from ticketing.scans.v1 import scan_pb2

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED


async def test_a_token_is_admitted_and_recorded(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    scan = await service.scan(event_id, ticket.token)
    assert scan.verdict == ADMITTED
    assert (scan.ticket_id, scan.event_id, scan.code) == (str(ticket.ticket_id), str(event_id), ticket.code)
    [row] = database.rows("scans")
    assert (str(row["scan_id"]), row["verdict"], row["scanner_user_id"]) == (scan.scan_id, "ADMITTED", "sam")
    # The stored code is masked; the full code is derived from ticket and issue again.
    assert (row["code"], row["issue"]) == (f"{ticket.code[:10]}…", 1)


async def test_second_scan_is_denied_with_the_first_one(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    first = await service.scan(event_id, ticket.token)
    second = await service.scan(event_id, ticket.code.lower() + " ")
    assert (second.verdict, second.denial_reason) == (DENIED, scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)
    assert (second.previous.scan_id, second.previous.location) == (first.scan_id, "North")
    assert second.previous.scan_time == first.scan_time


async def test_the_same_scan_id_gets_the_first_answer(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    scan_id = str(uuid.uuid4())
    first = await service.scan(event_id, ticket.token, scan_id=scan_id)
    assert await service.scan(event_id, ticket.token, scan_id=scan_id) == first
    assert len(database.rows("scans")) == 1


async def test_a_scan_recorded_by_another_process_gets_its_answer(database, service):
    event_id = database.event()
    ticket, other = database.ticket(event_id), database.ticket(event_id)
    first = await service.scan(event_id, ticket.token)
    assert first.verdict == ADMITTED
    [row] = database.rows("scans")
    database.value("DELETE FROM scans RETURNING true")
    with database.engine.begin() as connection:
        # The uncommitted row is that of another process that records the scan.
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        connection.execute(scans.insert().values(**row))
        calls = [service.scan(event_id, ticket.token, scan_id=first.scan_id), service.scan(event_id, other.token)]
        answers = [asyncio.create_task(call) for call in calls]
        await until(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    assert await answers[0] == first
    assert (await answers[1]).verdict == ADMITTED
    assert len(database.rows("scans")) == 2


async def test_a_scan_id_used_for_another_scan_is_refused(database, service):
    event_id = database.event()
    scan_id = str(uuid.uuid4())
    await service.scan(event_id, "x", scan_id=scan_id)
    refused = await refusal(service.scan(event_id, "y", scan_id=scan_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SCAN_ID_REUSED")


async def test_a_genuine_ticket_unknown_to_the_replica_is_admitted_once(database, service):
    event_id = database.event()
    ticket = database.unknown(event_id)
    assert (await service.scan(event_id, ticket.token)).verdict == ADMITTED
    assert (await service.scan(event_id, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    [row] = database.rows("tickets")
    assert (row["known"], row["inside"], row["sequence"]) == (False, True, 1)


async def test_one_ticket_at_many_gates_at_once_is_admitted_once(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    scans = await asyncio.gather(*(service.scan(event_id, ticket.token) for _ in range(50)))
    assert [scan.verdict for scan in scans].count(ADMITTED) == 1
    assert len(database.rows("scans")) == 50


async def test_a_token_of_an_event_in_draft_is_admitted_but_no_code(database, service):
    """The ticket was sold, so the event is on sale, and the feed is late."""
    event_id = database.event(status="DRAFT")
    ticket, unknown = database.ticket(event_id), database.unknown(event_id)
    assert (await service.scan(event_id, ticket.code)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_NOT_OPEN
    for shown in (ticket, unknown):
        assert (await service.scan(event_id, shown.token)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_an_unknown_event_is_not_found(service):
    refused = await refusal(service.scan(uuid.uuid4(), "x"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND")


async def test_a_closed_event_admits_nobody(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    database.update(events, closed=True)
    assert (await service.scan(event_id, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_CANCELLED
