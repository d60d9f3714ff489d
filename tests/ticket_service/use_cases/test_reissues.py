import asyncio
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa

from tests.environment.access import CODE_SECRET
from tests.environment.waiting import until
from tests.selling.callers import ALICE, BOB, OLGA, OSCAR
from tests.selling.rows import CHANGE_RULES, change, row, sold
from ticket_service.adapters.scans import ScanServiceClient
from ticket_service.domain.cancellations import SWEEPER_DELAY
from ticket_service.domain.codes import Codes
from ticket_service.domain.reissues import ReissueRequest
from ticket_service.domain.revocations import Outcome
from ticket_service.store import reissues as store
from ticket_service.store.tables import cancellations, events, idempotency_keys, reissues, tickets
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.issuing import Issuing
from ticket_service.use_cases.keys import SigningKeys
from ticket_service.use_cases.reissues import Reissues, settle
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure
from ticketing.chassis.ids import new_id
from ticketing.tickets.v1 import ticket_pb2

CODES = Codes(CODE_SECRET)


@pytest.fixture
async def issuing(database: Database, clock: Clock, tmp_path) -> Issuing:
    return Issuing(CODES, await SigningKeys.open(database, tmp_path / "signing.json", clock))


@pytest.fixture
def reissuer(database: Database, remote: ScanServiceClient, issuing: Issuing, clock: Clock) -> Reissues:
    return Reissues(database, remote, issuing, clock, lambda: None)


@pytest.fixture
def canceller(database: Database, remote: ScanServiceClient, clock: Clock) -> Cancellations:
    return Cancellations(database, remote, clock, lambda: None)


@pytest.fixture
async def ticket_id(database: Database, clock: Clock) -> UUID:
    """Sell alice one ticket of a sold-out event."""
    _, [ticket_id] = await sold(database, clock, max_participants=1)
    return ticket_id


def reissue(ticket_id: UUID) -> ReissueRequest:
    return ReissueRequest("alice", new_id(), ticket_id)


def transfer(ticket_id: UUID, user_id: str = "bob") -> ReissueRequest:
    return ReissueRequest("alice", new_id(), ticket_id, user_id, f"{user_id}@example.org")


async def test_a_reissue_is_answered_after_gates_deny_the_old_code(reissuer, database, scans, ticket_id):
    before = await row(database, tickets, ticket_id=ticket_id)
    answer = await reissuer.reissue(ALICE, reissue(ticket_id))
    assert (answer.ticket.issue, answer.ticket.user_id) == (2, "alice")
    [revocation] = scans.calls[0].revocations
    assert (revocation.issue, revocation.status) == (2, ticket_pb2.TICKET_STATUS_ACTIVE)
    assert revocation.even_if_checked_in
    after = await row(database, tickets, ticket_id=ticket_id)
    assert after.code_digest == CODES.digest(CODES.code(ticket_id, 2))
    assert after.token_digest != before.token_digest
    stored = await row(database, events, event_id=after.event_id)
    assert (after.revision, stored.revision, stored.reserved) == (3, 3, 1)


async def test_a_transfer_changes_the_holder_even_if_sold_out(reissuer, database, scans, ticket_id):
    answer = await reissuer.reissue(ALICE, transfer(ticket_id))
    assert (answer.ticket.issue, answer.ticket.user_id, answer.buyer_id) == (2, "bob", "alice")
    assert not scans.calls[0].revocations[0].even_if_checked_in
    assert (await row(database, reissues, ticket_id=ticket_id)).email == "bob@example.org"


async def test_a_repeated_transfer_returns_its_result_to_the_old_holder(reissuer, scans, ticket_id):
    request = transfer(ticket_id)
    first = await reissuer.reissue(ALICE, request)
    assert await reissuer.reissue(ALICE, request) == first
    assert len(scans.calls) == 1
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "TICKET_NOT_FOUND"


async def test_concurrent_equal_requests_make_one_issue(reissuer, ticket_id):
    request = reissue(ticket_id)
    answer = await asyncio.gather(*(reissuer.reissue(ALICE, request) for _ in range(8)))
    assert {one.ticket.issue for one in answer} == {2}


async def test_concurrent_different_requests_are_done_in_turn(reissuer, ticket_id):
    answer = await asyncio.gather(*(reissuer.reissue(ALICE, reissue(ticket_id)) for _ in range(3)))
    assert max(one.ticket.issue for one in answer) == 4


async def test_a_request_id_of_another_request_is_refused(reissuer, ticket_id):
    request = transfer(ticket_id)
    await reissuer.reissue(ALICE, request)
    for other in (
        ReissueRequest("alice", request.request_id, ticket_id),
        ReissueRequest("alice", request.request_id, ticket_id, "carol"),
    ):
        with pytest.raises(Failure) as caught:
            await reissuer.reissue(ALICE, other)
        assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_a_checked_in_ticket_is_reissued_but_not_transferred(reissuer, database, clock, ticket_id):
    await change(database, ticket_id, check_in_time=clock.now)
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "TICKET_CHECKED_IN"
    answer = await reissuer.reissue(ALICE, reissue(ticket_id))
    assert (answer.ticket.issue, answer.ticket.check_in_time) == (2, clock.now)


async def test_a_transfer_after_a_check_in_is_refused_and_repeatable(reissuer, database, clock, scans, ticket_id):
    scans.admitted[str(ticket_id)] = clock.now
    request = transfer(ticket_id)
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, request)
    assert caught.value.reason == "TICKET_CHECKED_IN"
    assert caught.value.metadata["check_in_time"] == clock.now.isoformat()
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id, stored.revision) == (1, "alice", 2)
    # The check-in is annulled at the gate.
    scans.admitted.clear()
    assert (await reissuer.reissue(ALICE, request)).ticket.user_id == "bob"


@pytest.mark.parametrize(
    ("changes", "days", "status"),
    [({"status": "BLOCKED"}, 0, "BLOCKED"), ({"status": "REFUNDED"}, 0, "REFUNDED"), ({}, 11, "EXPIRED")],
)
async def test_only_an_active_ticket_is_reissued(reissuer, database, clock, ticket_id, changes, days, status):  # noqa: PLR0913, PLR0917 - fixtures and cases
    await change(database, ticket_id, issue=1, **changes)
    clock.advance(timedelta(days=days))
    for request in (reissue(ticket_id), transfer(ticket_id)):
        with pytest.raises(Failure) as caught:
            await reissuer.reissue(ALICE, request)
        assert (caught.value.reason, caught.value.metadata["status"]) == ("TICKET_NOT_ACTIVE", status)


async def test_a_ticket_with_a_pending_cancellation_is_not_transferred(reissuer, canceller, scans, ticket_id):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    own = await canceller.cancel(ALICE, ticket_id, "")
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, transfer(ticket_id))
    assert caught.value.reason == "CANCELLATION_PENDING"
    assert caught.value.metadata == {"ticket_id": str(ticket_id), "cancellation_id": str(own.cancellation_id)}


@pytest.mark.parametrize("caller", [BOB, OSCAR], ids=lambda caller: caller.subject)
async def test_a_ticket_of_another_holder_is_not_found(reissuer, ticket_id, caller):
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(caller, reissue(ticket_id))
    assert caught.value.reason == "TICKET_NOT_FOUND"


async def test_without_the_scan_service_a_reissue_waits_for_a_repetition(
    reissuer, canceller, database, scans, ticket_id
):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    request = transfer(ticket_id)
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, request)
    assert (caught.value.reason, caught.value.metadata) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "scan service"})
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id) == (1, "alice")
    # The ticket's holder is not decided yet, so the ticket is not cancelled meanwhile.
    with pytest.raises(Failure) as caught:
        await canceller.cancel(ALICE, ticket_id, "")
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    scans.fails_with = None
    assert (await reissuer.reissue(ALICE, request)).ticket.user_id == "bob"


async def test_a_ticket_locked_at_the_gates_is_reissued_once_it_is_free(reissuer, scans, ticket_id):
    scans.locked.add(str(ticket_id))
    request = transfer(ticket_id)
    with pytest.raises(Failure) as caught:
        await reissuer.reissue(ALICE, request)
    assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
    scans.locked.clear()
    assert (await reissuer.reissue(ALICE, request)).ticket.user_id == "bob"


async def test_the_sweeper_settles_a_reissue_after_a_crash_once(reissuer, database, clock, scans, ticket_id):
    scans.may_answer.clear()
    request = transfer(ticket_id)
    dying = asyncio.ensure_future(reissuer.reissue(ALICE, request))
    await scans.called.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    scans.may_answer.set()
    await reissuer.sweep()
    assert len(scans.calls) == 1, "the caller has a head start before the sweeper"
    clock.advance(SWEEPER_DELAY)
    await asyncio.gather(reissuer.sweep(), reissuer.sweep())
    await reissuer.sweep()
    assert len(scans.calls) == 2, "exactly one sweeper continues it"
    stored = await row(database, tickets, ticket_id=ticket_id)
    assert (stored.issue, stored.user_id, stored.revision) == (2, "bob", 3)
    assert (await reissuer.reissue(ALICE, request)).ticket.issue == 2


async def test_a_sweep_without_the_scan_service_tries_again_later(reissuer, database, clock, scans, ticket_id):
    scans.fails_with = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Failure):
        await reissuer.reissue(ALICE, reissue(ticket_id))
    clock.advance(SWEEPER_DELAY)
    assert await reissuer.sweep() is False
    tried = await row(database, reissues, ticket_id=ticket_id)
    assert (tried.attempts, tried.status) == (1, "PENDING")
    assert tried.due_time > clock.now


async def test_settling_again_changes_nothing(reissuer, database, clock, issuing, ticket_id):
    await reissuer.reissue(ALICE, reissue(ticket_id))
    done = await row(database, reissues, ticket_id=ticket_id)
    before = await row(database, tickets, ticket_id=ticket_id)
    found = await database.run(lambda c: store.find_reissue(c, done.event_id, done.reissue_id))
    again = await database.run(lambda c: settle(c, found, Outcome(revoked=True), issuing, clock.now))
    assert again == found
    assert await row(database, tickets, ticket_id=ticket_id) == before


async def test_a_ticket_cancelled_with_its_event_meanwhile_stays_so(  # noqa: PLR0913, PLR0917 - all that takes part
    reissuer, canceller, remote, database, clock, scans, ticket_id
):
    scans.may_answer.clear()
    waiting = asyncio.ensure_future(reissuer.reissue(ALICE, transfer(ticket_id)))
    await scans.called.wait()
    event_id = (await row(database, tickets, ticket_id=ticket_id)).event_id
    off = EventCancellations(database, remote, canceller, CHANGE_RULES, clock)
    await off.cancel(OLGA, event_id, "")
    settling = asyncio.ensure_future(off.sweep())
    await until(lambda: len(scans.calls) >= 2)
    # The ticket is refunded once, whichever commits first.
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


async def test_a_reissue_of_a_ticket_cancelled_meanwhile_is_rejected(reissuer, database, clock, scans, ticket_id):
    scans.may_answer.clear()
    waiting = asyncio.ensure_future(reissuer.reissue(ALICE, reissue(ticket_id)))
    await scans.called.wait()
    await change(database, ticket_id, status="REFUNDED")
    scans.may_answer.set()
    with pytest.raises(Failure) as caught:
        await waiting
    assert (caught.value.reason, caught.value.metadata["status"]) == ("TICKET_NOT_ACTIVE", "REFUNDED")
    kept = sa.select(sa.func.count()).select_from(idempotency_keys)
    assert await database.run(lambda connection: connection.execute(kept).scalar_one()) == 0


async def test_blocking_and_unblocking_take_a_revision_each(reissuer, database, ticket_id):
    for blocked, status, revision in [(True, "BLOCKED", 3), (True, "BLOCKED", 3), (False, "ACTIVE", 4)]:
        answer = await reissuer.set_blocked(OLGA, ticket_id, blocked=blocked)
        assert answer.ticket.status == status
        stored = await row(database, tickets, ticket_id=ticket_id)
        event = await row(database, events, event_id=stored.event_id)
        assert (stored.status, stored.revision, event.revision, event.reserved) == (status, revision, revision, 1)


async def test_only_the_organizer_blocks_and_no_cancelled_ticket(reissuer, database, ticket_id):
    for caller, asked, reason in [(OSCAR, ticket_id, "TICKET_NOT_FOUND"), (OLGA, new_id(), "TICKET_NOT_FOUND")]:
        with pytest.raises(Failure) as caught:
            await reissuer.set_blocked(caller, asked, blocked=True)
        assert caught.value.reason == reason
    await change(database, ticket_id, status="CANCELLED")
    with pytest.raises(Failure) as caught:
        await reissuer.set_blocked(OLGA, ticket_id, blocked=True)
    assert caught.value.reason == "TICKET_NOT_ACTIVE"
