"""Scans as their callers see them: over a real socket, on a real database."""

import asyncio
import uuid

import grpc
import pytest

from scan_service.store.tables import events, scans
from tests.environment.refusals import reason_of
from tests.environment.waiting import until
from ticketing.scans.v1 import scan_pb2

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED


async def test_a_token_is_admitted_and_recorded(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    scan = await service.scan(event_id, ticket.token)
    assert scan.verdict == ADMITTED
    assert (scan.ticket_id, scan.event_id, scan.code) == (str(ticket.ticket_id), str(event_id), ticket.code)
    [row] = copy.rows("scans")
    assert (str(row["scan_id"]), row["verdict"], row["scanner_user_id"]) == (scan.scan_id, "ADMITTED", "sam")
    # What is stored opens no gate; the whole code is derived again of ticket and issue.
    assert (row["code"], row["issue"]) == (f"{ticket.code[:10]}…", 1)


async def test_a_second_scan_of_a_single_entry_ticket_is_denied_and_names_the_first(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    first = await service.scan(event_id, ticket.token)
    second = await service.scan(event_id, ticket.code.lower() + " ")
    assert (second.verdict, second.denial_reason) == (DENIED, scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)
    assert (second.previous.scan_id, second.previous.location) == (first.scan_id, "North")
    assert second.previous.scan_time == first.scan_time


async def test_the_same_scan_id_gets_the_first_answer(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    scan_id = str(uuid.uuid4())
    first = await service.scan(event_id, ticket.token, scan_id=scan_id)
    assert await service.scan(event_id, ticket.token, scan_id=scan_id) == first
    assert len(copy.rows("scans")) == 1


async def test_a_scan_that_another_process_records_meanwhile_is_answered_as_it_was_there(copy, service):
    event_id = copy.event()
    ticket, other = copy.ticket(event_id), copy.ticket(event_id)
    first = await service.scan(event_id, ticket.token)
    assert first.verdict == ADMITTED
    [row] = copy.rows("scans")
    copy.value("DELETE FROM scans RETURNING true")
    with copy.engine.begin() as connection:
        # As if it were being recorded now.
        connection.exec_driver_sql("SELECT 1 FROM tickets FOR UPDATE")
        connection.execute(scans.insert().values(**row))
        calls = [service.scan(event_id, ticket.token, scan_id=first.scan_id), service.scan(event_id, other.token)]
        answers = [asyncio.create_task(call) for call in calls]
        await until(lambda: copy.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    assert await answers[0] == first
    assert (await answers[1]).verdict == ADMITTED
    assert len(copy.rows("scans")) == 2


async def test_a_scan_id_used_for_another_scan_is_refused(copy, service):
    event_id = copy.event()
    scan_id = str(uuid.uuid4())
    await service.scan(event_id, "x", scan_id=scan_id)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await service.scan(event_id, "y", scan_id=scan_id)
    assert (refusal.value.code(), reason_of(refusal.value)) == (grpc.StatusCode.ALREADY_EXISTS, "SCAN_ID_REUSED")


async def test_a_genuine_ticket_that_the_copy_never_saw_is_admitted_once(copy, service):
    event_id = copy.event()
    ticket = copy.unknown(event_id)
    assert (await service.scan(event_id, ticket.token)).verdict == ADMITTED
    assert (await service.scan(event_id, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    [row] = copy.rows("tickets")
    assert (row["known"], row["inside"], row["sequence"]) == (False, True, 1)


async def test_one_ticket_at_many_gates_at_once_is_admitted_once(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    scans = await asyncio.gather(*(service.scan(event_id, ticket.token) for _ in range(50)))
    assert [scan.verdict for scan in scans].count(ADMITTED) == 1
    assert len(copy.rows("scans")) == 50


async def test_an_unknown_event_is_not_found(service):
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await service.scan(uuid.uuid4(), "x")
    assert (refusal.value.code(), reason_of(refusal.value)) == (grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND")


async def test_an_event_called_off_admits_nobody(copy, service):
    event_id = copy.event()
    ticket = copy.ticket(event_id)
    copy.update(events, closed=True)
    assert (await service.scan(event_id, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_CANCELLED
