import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.access import CODE_SECRET, PEER_SECRET
from tests.environment.waiting import until
from tests.selling.rows import sell, store_event
from tests.stand_ins.revocations import ScansStandIn
from ticket_service.adapters.scans import RemoteScans
from ticket_service.domain.cancellations import HEAD_START
from ticket_service.domain.codes import Codes
from ticket_service.domain.events import Event
from ticket_service.domain.reissues import ReissueRequest
from ticket_service.domain.revocations import Outcome
from ticket_service.store import reissues as store
from ticket_service.store.tables import cancellations, events, idempotency_keys, reissues, tickets
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.reissues import Reissues, settle
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.peer_client import PeerClient
from ticketing.tickets.v1 import ticket_pb2

ALICE = Caller("alice", frozenset({Role.USER}))
BOB = Caller("bob", frozenset({Role.USER}))
OLGA = Caller("olga", frozenset({Role.ORGANIZER}))
OSCAR = Caller("oscar", frozenset({Role.ORGANIZER}))
CODES = Codes(CODE_SECRET)


@pytest.fixture
async def remote(scans: ScansStandIn, scans_port: int) -> AsyncIterator[RemoteScans]:
    await scans.start(scans_port)
    peer = PeerClient(f"127.0.0.1:{scans_port}", PEER_SECRET)
    yield RemoteScans(peer)
    await peer.close()


@pytest.fixture
async def issuing(database: Database, clock: Clock, tmp_path) -> Issuing:
    return Issuing(CODES, await SigningKeys.open(database, tmp_path / "signing.json", clock))


@pytest.fixture
def changing(database: Database, remote: RemoteScans, issuing: Issuing, clock: Clock) -> Reissues:
    return Reissues(database, remote, issuing, clock, lambda: None)


@pytest.fixture
def giving_back(database: Database, remote: RemoteScans, clock: Clock) -> Cancellations:
    return Cancellations(database, remote, clock, lambda: None)


async def sold(database: Database, clock: Clock, count: int = 1, **wanted: Any) -> tuple[Event, list[UUID]]:
    def work(connection: Connection) -> tuple[Event, list[UUID]]:
        event = store_event(connection, now=clock(), **wanted)
        return event, sell(connection, event, count)

    return await database.run(work)


@pytest.fixture
async def ticket_id(database: Database, clock: Clock) -> UUID:
    """Sell alice one ticket of a sold-out event."""
    _, [ticket_id] = await sold(database, clock, max_participants=1)
    return ticket_id


async def row(database: Database, table: sa.Table, **key: Any) -> sa.Row[Any]:
    query = sa.select(table).filter_by(**key)
    return await database.run(lambda connection: connection.execute(query).one())


async def change(database: Database, ticket_id: UUID, **values: Any) -> None:
    statement = sa.update(tickets).where(tickets.c.ticket_id == ticket_id).values(**values)
    await database.run(lambda connection: connection.execute(statement))


def reissue(ticket_id: UUID) -> ReissueRequest:
    return ReissueRequest("alice", new_id(), ticket_id)


def transfer(ticket_id: UUID, user_id: str = "bob") -> ReissueRequest:
    return ReissueRequest("alice", new_id(), ticket_id, user_id, f"{user_id}@example.org")


async def test_a_reissue_has_a_new_code_and_gates_know_before_it_is_told(changing, database, scans, ticket_id):
    before = await row(database, tickets, ticket_id=ticket_id)
    told = await changing.reissue(ALICE, reissue(ticket_id))
    assert (told.ticket.issue, told.ticket.user_id) == (2, "alice")
    [revocation] = scans.calls[0].revocations
    assert (revocation.issue, revocation.status) == (2, ticket_pb2.TICKET_STATUS_ACTIVE)
    assert revocation.even_if_checked_in
    after = await row(database, tickets, ticket_id=ticket_id)
    assert after.code_digest == CODES.digest(CODES.code(ticket_id, 2))
    assert after.token_digest != before.token_digest
    stored = await row(database, events, event_id=after.event_id)
    assert (after.revision, stored.revision, stored.reserved) == (3, 3, 1)


async def test_a_transfer_changes_the_holder_of_a_ticket_of_a_sold_out_event(changing, database, scans, ticket_id):
    told = await changing.reissue(ALICE, transfer(ticket_id))
    assert (told.ticket.issue, told.ticket.user_id, told.buyer_id) == (2, "bob", "alice")
    assert not scans.calls[0].revocations[0].even_if_checked_in
    assert (await row(database, reissues, ticket_id=ticket_id)).email == "bob@example.org"


async def test_asked_again_it_is_done_once_and_told_also_to_the_old_holder(changing, scans, ticket_id):
    request = transfer(ticket_id)
    first = await changing.reissue(ALICE, request)
    assert await changing.reissue(ALICE, request) == first
    assert len(scans.calls) == 1
    with pytest.raises(Failure) as caught:
        await changing.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "TICKET_NOT_FOUND"


async def test_many_who_send_one_request_at_once_make_one_issue(changing, ticket_id):
    request = reissue(ticket_id)
    told = await asyncio.gather(*(changing.reissue(ALICE, request) for _ in range(8)))
    assert {one.ticket.issue for one in told} == {2}


async def test_different_requests_at_once_are_done_one_after_the_other(changing, ticket_id):
    told = await asyncio.gather(*(changing.reissue(ALICE, reissue(ticket_id)) for _ in range(3)))
    assert max(one.ticket.issue for one in told) == 4


async def test_a_request_id_stands_for_one_request(changing, ticket_id):
    request = transfer(ticket_id)
    await changing.reissue(ALICE, request)
    for other in (
        ReissueRequest("alice", request.request_id, ticket_id),
        ReissueRequest("alice", request.request_id, ticket_id, "carol"),
    ):
        with pytest.raises(Failure) as caught:
            await changing.reissue(ALICE, other)
        assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_who_is_inside_may_have_a_new_code_but_not_become_another(changing, database, clock, ticket_id):
    await change(database, ticket_id, check_in_time=clock.now)
    with pytest.raises(Failure) as caught:
        await changing.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "TICKET_CHECKED_IN"
    told = await changing.reissue(ALICE, reissue(ticket_id))
    assert (told.ticket.issue, told.ticket.check_in_time) == (2, clock.now)


async def test_a_transfer_that_a_gate_came_before_changes_nothing_and_may_be_asked_again(
    changing, database, clock, scans, ticket_id
):
    scans.admitted[str(ticket_id)] = clock.now
    request = transfer(ticket_id)
    with pytest.raises(Failure) as caught:
        await changing.reissue(ALICE, request)
    assert caught.value.reason == "TICKET_CHECKED_IN"
    assert caught.value.metadata["check_in_time"] == clock.now.isoformat()
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id, stored.revision) == (1, "alice", 2)
    # The check-in is annulled at the gate.
    scans.admitted.clear()
    assert (await changing.reissue(ALICE, request)).ticket.user_id == "bob"


@pytest.mark.parametrize(
    ("changes", "days", "status"),
    [({"status": "BLOCKED"}, 0, "BLOCKED"), ({"status": "REFUNDED"}, 0, "REFUNDED"), ({}, 11, "EXPIRED")],
)
async def test_only_a_ticket_that_is_good_is_reissued(changing, database, clock, ticket_id, changes, days, status):  # noqa: PLR0913, PLR0917 - fixtures and cases
    await change(database, ticket_id, issue=1, **changes)
    clock.advance(timedelta(days=days))
    for request in (reissue(ticket_id), transfer(ticket_id)):
        with pytest.raises(Failure) as caught:
            await changing.reissue(ALICE, request)
        assert (caught.value.reason, caught.value.metadata["status"]) == ("TICKET_NOT_ACTIVE", status)


async def test_a_ticket_that_is_being_given_back_is_not_transferred(changing, giving_back, scans, ticket_id):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    own = await giving_back.cancel(ALICE, ticket_id, "")
    with pytest.raises(Failure) as caught:
        await changing.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "CANCELLATION_PENDING"
    assert caught.value.metadata == {"ticket_id": str(ticket_id), "cancellation_id": str(own.cancellation_id)}


@pytest.mark.parametrize("caller", [BOB, OSCAR], ids=lambda caller: caller.subject)
async def test_a_ticket_of_somebody_else_does_not_exist(changing, ticket_id, caller):
    with pytest.raises(Failure) as caught:
        await changing.reissue(caller, reissue(ticket_id))
    assert caught.value.reason == "TICKET_NOT_FOUND"


async def test_while_the_scan_service_is_away_nothing_is_changed_and_asking_again_goes_on(
    changing, giving_back, database, scans, ticket_id
):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    request = transfer(ticket_id)
    with pytest.raises(Failure) as caught:
        await changing.reissue(ALICE, request)
    assert (caught.value.reason, caught.value.metadata) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "scan service"})
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id) == (1, "alice")
    # Whose it is to be is open, so it is not given back meanwhile.
    with pytest.raises(Failure) as caught:
        await giving_back.cancel(ALICE, ticket_id, "")
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    scans.fails_with = None
    assert (await changing.reissue(ALICE, request)).ticket.user_id == "bob"


async def test_what_a_crash_left_between_revocation_and_commit_is_settled_once_by_sweeping(
    changing, database, clock, scans, ticket_id
):
    scans.may_answer.clear()
    request = transfer(ticket_id)
    dying = asyncio.ensure_future(changing.reissue(ALICE, request))
    await scans.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    scans.may_answer.set()
    await changing.sweep()
    assert len(scans.calls) == 1, "the sweeper leaves a caller its head start"
    clock.advance(HEAD_START)
    await asyncio.gather(changing.sweep(), changing.sweep())
    await changing.sweep()
    assert len(scans.calls) == 2, "one of the sweepers has it, and then nobody"
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id, stored.revision) == (2, "bob", 3)
    assert (await changing.reissue(ALICE, request)).ticket.issue == 2


async def test_a_sweep_that_finds_the_scan_service_away_tries_again_later(changing, database, clock, scans, ticket_id):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Failure):
        await changing.reissue(ALICE, reissue(ticket_id))
    clock.advance(HEAD_START)
    assert await changing.sweep() is False
    tried = await row(database, reissues, ticket_id=ticket_id)
    assert (tried.attempts, tried.status) == (1, "PENDING")
    assert tried.due_time > clock.now


async def test_settling_again_changes_nothing(changing, database, clock, issuing, ticket_id):
    await changing.reissue(ALICE, reissue(ticket_id))
    done = await row(database, reissues, ticket_id=ticket_id)
    before = await row(database, tickets, ticket_id=ticket_id)
    found = await database.run(lambda c: store.find_reissue(c, done.event_id, done.reissue_id))
    again = await database.run(lambda c: settle(c, found, Outcome(revoked=True), issuing, clock.now))
    assert again == found
    assert await row(database, tickets, ticket_id=ticket_id) == before


async def test_a_ticket_given_back_by_a_calling_off_meanwhile_stays_so(  # noqa: PLR0913, PLR0917 - all that takes part
    changing, giving_back, remote, database, clock, scans, ticket_id
):
    scans.may_answer.clear()
    waiting = asyncio.ensure_future(changing.reissue(ALICE, transfer(ticket_id)))
    await scans.called.wait()
    event_id = (await row(database, tickets, ticket_id=ticket_id)).event_id
    off = EventCancellations(database, remote, giving_back, clock, lambda: None)
    await off.call_off(OLGA, event_id, "")
    settling = asyncio.ensure_future(off.sweep())
    await until(lambda: len(scans.calls) >= 2)
    # Whoever commits first, the ticket ends refunded once.
    scans.may_answer.set()
    answers = await asyncio.gather(waiting, settling, return_exceptions=True)
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.status, (await row(database, cancellations, ticket_id=ticket_id)).status) == (
        "REFUNDED",
        "REFUNDING",
    )
    if isinstance(answers[0], Failure):
        assert answers[0].reason == "TICKET_NOT_ACTIVE"
    else:
        assert not isinstance(answers[0], BaseException)
        assert answers[0].ticket.issue == 2


async def test_a_reissue_that_finds_its_ticket_given_back_is_rejected_and_forgotten(
    changing, database, clock, scans, ticket_id
):
    scans.may_answer.clear()
    waiting = asyncio.ensure_future(changing.reissue(ALICE, reissue(ticket_id)))
    await scans.called.wait()
    await change(database, ticket_id, status="REFUNDED")
    scans.may_answer.set()
    with pytest.raises(Failure) as caught:
        await waiting
    assert (caught.value.reason, caught.value.metadata["status"]) == ("TICKET_NOT_ACTIVE", "REFUNDED")
    kept = sa.select(sa.func.count()).select_from(idempotency_keys)
    assert await database.run(lambda connection: connection.execute(kept).scalar_one()) == 0


async def test_a_withheld_ticket_takes_a_revision_once_and_can_be_let_go_again(changing, database, ticket_id):
    for blocked, status, revision in [(True, "BLOCKED", 3), (True, "BLOCKED", 3), (False, "ACTIVE", 4)]:
        told = await changing.set_blocked(OLGA, ticket_id, blocked=blocked)
        assert told.ticket.status == status
        stored = await row(database, tickets, ticket_id=ticket_id)
        event = await row(database, events, event_id=stored.event_id)
        assert (stored.status, stored.revision, event.revision, event.reserved) == (status, revision, revision, 1)


async def test_only_the_organizer_withholds_a_ticket_and_none_that_was_given_back(changing, database, ticket_id):
    for caller, asked, reason in [(OSCAR, ticket_id, "TICKET_NOT_FOUND"), (OLGA, new_id(), "TICKET_NOT_FOUND")]:
        with pytest.raises(Failure) as caught:
            await changing.set_blocked(caller, asked, blocked=True)
        assert caught.value.reason == reason
    await change(database, ticket_id, status="CANCELLED")
    with pytest.raises(Failure) as caught:
        await changing.set_blocked(OLGA, ticket_id, blocked=True)
    assert caught.value.reason == "TICKET_NOT_ACTIVE"
