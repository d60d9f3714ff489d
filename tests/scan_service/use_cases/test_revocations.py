"""Tests of revocations: exactly one of a check-in and a revocation comes first."""

import asyncio
import random
import uuid

import grpc
import pytest

from tests.environment.refusals import refusal, violations_of
from ticketing.scans.v1 import revocation_service_pb2 as pb
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import ticket_pb2

ACTIVE, CANCELLED, REFUNDED = (
    ticket_pb2.TICKET_STATUS_ACTIVE,
    ticket_pb2.TICKET_STATUS_CANCELLED,
    ticket_pb2.TICKET_STATUS_REFUNDED,
)
ADMITTED = scan_pb2.VERDICT_ADMITTED


def revocation(ticket, status=REFUNDED, issue=1, revocation_id=None, **values):
    return pb.Revocation(
        revocation_id=revocation_id or str(uuid.uuid4()),
        ticket_id=str(ticket.ticket_id),
        status=status,
        issue=issue,
        **values,
    )


async def revoke(service, event_id, *revocations):
    request = pb.RevokeTicketsRequest(event_id=str(event_id), revocations=revocations)
    return (await service.revocations.RevokeTickets(request, metadata=service.peer, timeout=20)).outcomes


@pytest.mark.parametrize(
    ("status", "reason"), [(CANCELLED, scan_pb2.DENIAL_REASON_CANCELLED), (REFUNDED, scan_pb2.DENIAL_REASON_REFUNDED)]
)
async def test_a_revoked_ticket_is_denied_known_or_not(database, service, status, reason):
    event_id = database.event()
    for ticket in (database.ticket(event_id), database.unknown(event_id)):
        [outcome] = await revoke(service, event_id, revocation(ticket, status))
        assert (outcome.revoked, outcome.ticket_id) == (True, str(ticket.ticket_id))
        for code in (ticket.token, ticket.code):
            assert (await service.scan(event_id, code)).denial_reason == reason


async def test_a_check_in_before_the_revocation_wins(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    asked = revocation(ticket)
    scan = await service.scan(event_id, ticket.token)
    for _ in range(2):
        [outcome] = await revoke(service, event_id, asked)
        assert (outcome.revoked, outcome.check_in_time) == (False, scan.scan_time)
    leaving = await service.scan(event_id, ticket.token, scan_type=scan_pb2.SCAN_TYPE_CHECK_OUT)
    assert leaving.verdict == ADMITTED
    assert database.rows("tickets")[0]["status"] == "ACTIVE"


async def test_a_repeated_revocation_has_its_first_outcome(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    asked = revocation(ticket)
    [first] = await revoke(service, event_id, asked)
    assert list(await revoke(service, event_id, asked, asked)) == [first, first]
    assert len(database.rows("revocations")) == 1


async def test_a_reissue_keeps_the_check_in_and_ends_the_older_issue(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    scan = await service.scan(event_id, ticket.token)
    [outcome] = await revoke(service, event_id, revocation(ticket, ACTIVE, 2, even_if_checked_in=True))
    assert outcome.revoked
    assert (await service.scan(event_id, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
    assert (await service.scan(event_id, ticket.code)).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
    newest = database.unknown(event_id, ticket.ticket_id, issue=2)
    for code in (newest.token, newest.code):
        denied = await service.scan(event_id, code)
        assert denied.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
        assert denied.previous.scan_id == scan.scan_id


async def test_a_final_status_and_a_newer_issue_stay(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id, issue=3)
    await revoke(service, event_id, revocation(ticket, CANCELLED), revocation(ticket), revocation(ticket, ACTIVE, 2))
    [row] = database.rows("tickets")
    assert (row["status"], row["issue"]) == ("CANCELLED", 3)


async def test_a_reused_revocation_id_is_refused_without_changes(database, service):
    event_id = database.event()
    first, second = database.ticket(event_id), database.ticket(event_id)
    asked = revocation(first)
    await revoke(service, event_id, asked)
    reused = revocation(second, revocation_id=asked.revocation_id)
    refused = await refusal(revoke(service, event_id, revocation(second), reused))
    assert refused.fields == {"revocations[1].revocation_id"}
    assert (await service.scan(event_id, second.token)).verdict == ADMITTED


async def test_every_invalid_field_is_named(service):
    bad = pb.Revocation(revocation_id="x", ticket_id="y", status=ticket_pb2.TICKET_STATUS_BLOCKED, issue=0)
    fields = {f"revocations[0].{name}" for name in ("revocation_id", "ticket_id", "status", "issue")}
    assert (await refusal(revoke(service, "z", bad))).fields == fields | {"event_id"}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await revoke(service, uuid.uuid4(), *[pb.Revocation()] * 1001)
    assert violations_of(caught.value) == {"revocations": "holds more than 1000"}
    refused = await refusal(service.revocations.RevokeEvent(pb.RevokeEventRequest(), metadata=service.peer))
    assert refused.fields == {"event_id"}


async def test_only_the_peer_may_revoke(database, service, issuer):
    for role in ("scanner", "organizer", "service"):
        refused = await refusal(
            service.revocations.RevokeTickets(pb.RevokeTicketsRequest(), metadata=issuer.metadata(role))
        )
        assert refused.reason == "FORBIDDEN"


async def test_closing_an_event_known_or_not_counts_check_ins(database, service):
    event_id = database.event()
    tickets = [database.ticket(event_id) for _ in range(3)]
    await service.scan(event_id, tickets[0].token)
    for _ in range(2):
        response = await service.revocations.RevokeEvent(
            pb.RevokeEventRequest(event_id=str(event_id)), metadata=service.peer
        )
        assert response.checked_in == 1
    assert (await service.scan(event_id, tickets[1].token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_CANCELLED
    unknown = uuid.uuid4()
    await service.revocations.RevokeEvent(pb.RevokeEventRequest(event_id=str(unknown)), metadata=service.peer)
    ticket = database.unknown(unknown)
    assert (await service.scan(unknown, ticket.token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_CANCELLED


@pytest.mark.slow
async def test_exactly_one_of_racing_scan_and_revocation_wins(database, service):
    chance = random.Random(20260701)
    event_id = database.event()

    async def race() -> bool:
        ticket = database.ticket(event_id) if chance.random() < 0.5 else database.unknown(event_id)
        wins = [service.scan(event_id, chance.choice((ticket.token, ticket.token, ticket.code)))]
        wins.insert(chance.randrange(2), revoke(service, event_id, revocation(ticket)))
        tasks = [asyncio.ensure_future(task) for task in wins]
        for result in await asyncio.gather(*tasks):
            if isinstance(result, scan_pb2.Scan):
                scan = result
            else:
                revoked: bool = result[0].revoked
        admitted = scan.verdict == ADMITTED
        if scan.denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND:
            # The code of a ticket that is still unknown: the scan neither wins nor loses.
            return revoked
        return admitted != revoked

    for _ in range(20):
        assert all(await asyncio.gather(*(race() for _ in range(15))))


@pytest.mark.slow
async def test_closing_an_event_among_scans_counts_the_admitted(database, service):
    event_id = database.event()
    tickets = [database.ticket(event_id) for _ in range(120)]

    async def close():
        await asyncio.sleep(0)
        request = pb.RevokeEventRequest(event_id=str(event_id))
        return (await service.revocations.RevokeEvent(request, metadata=service.peer)).checked_in

    closing: asyncio.Task[int] | None = None
    scans: list[asyncio.Task[scan_pb2.Scan]] = []
    for index, ticket in enumerate(tickets):
        if index == 40:
            # Some scans come first, however busy the machine is.
            await asyncio.wait(scans[:1])
            closing = asyncio.create_task(close())
        scans.append(asyncio.create_task(service.scan(event_id, ticket.token)))
        await asyncio.sleep(0.002)
    assert closing is not None
    checked_in = await closing
    verdicts = [(await scan).verdict for scan in scans]
    assert verdicts.count(ADMITTED) == checked_in
    assert 0 < checked_in < 120
