"""Reissue tickets: (1) record the reissue, (2) have the scan service revoke older issues, (3) commit the new issue.

A transfer is a reissue for another holder. A caller can repeat every step by a repeated request, and the sweeper after
a crash. The new issue is committed only after gates deny older issues, so the answer to a caller holds at every gate.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import reissues as domain
from ticket_service.domain.changes import ChangeKind, ticket_change
from ticket_service.domain.notifications import reissue_settled
from ticket_service.domain.refusals import request_id_reused, scan_service_unavailable, ticket_not_found
from ticket_service.domain.reissues import Reissue, ReissueRequest, ReissueStatus
from ticket_service.domain.revocations import Outcome
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store import changes, outbox
from ticket_service.store import reissues as store
from ticket_service.store.access import event_administered_by, ticket_visible_to
from ticket_service.store.events import lock_event, take_revision
from ticket_service.store.requests import RequestKey, claim, find_first, forget
from ticket_service.store.tickets import find_ticket, lock_ticket, update_ticket
from ticket_service.use_cases.cancellations import TicketRevoker, retry_seconds
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, overloaded
from ticketing.chassis.ids import new_id

log = logging.getLogger(__name__)

# Reissues in one sweep.
MAX_SWEEP: Final = 20
# The number of pending reissues of other requests that a request settles before its own.
TRIES: Final = 4


class Reissues:
    """The use cases of reissues and transfers; `on_change` is called after each commit that may change the feed."""

    def __init__(
        self, database: Database, revoker: TicketRevoker, issuing: Issuing, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self._database = database
        self._revoker = revoker
        self._issuing = issuing
        self._clock = clock
        self._on_change = on_change

    async def reissue(self, caller: Caller, request: ReissueRequest) -> SoldTicket:
        """Reissue a ticket that `caller` may see; a repeated request returns the result of the first request.

        Returns:
            The ticket in its present state; the caller may no longer be its holder.

        Raises:
            Failure: TICKET_NOT_FOUND, TICKET_NOT_ACTIVE, TICKET_CHECKED_IN, CANCELLATION_PENDING, REQUEST_ID_REUSED;
                DEPENDENCY_UNAVAILABLE if the scan service did not answer: the sweeper continues the reissue, and the
                caller may repeat the request.
        """
        for _ in range(TRIES):
            found = await self._database.run(lambda connection: self._request(connection, caller, request))
            if found.status is ReissueStatus.PENDING:
                found = await self._advance(found)
            if (found.caller, found.request_id) != (request.caller, request.request_id):
                # The reissue of another request was PENDING and is settled now.
                continue
            sold = await self._database.run(lambda c: find_ticket(c, request.ticket_id))
            if sold is None:
                raise ticket_not_found(request.ticket_id)
            if found.status is ReissueStatus.REJECTED:
                raise domain.rejection(found, sold.ticket)
            return sold
        raise overloaded("changes of one ticket")

    async def set_blocked(self, caller: Caller, ticket_id: UUID, *, blocked: bool) -> SoldTicket:
        """Block or unblock a ticket of an event that `caller` administers; raise TICKET_NOT_FOUND or TICKET_NOT_ACTIVE."""
        now = self._clock()
        administered = event_administered_by(caller)

        def work(connection: Connection) -> SoldTicket:
            found = find_ticket(connection, ticket_id, administered)
            event = lock_event(connection, found.ticket.event_id) if found else None
            sold = lock_ticket(connection, ticket_id, administered)
            if event is None or sold is None:
                raise ticket_not_found(ticket_id)
            ticket = domain.set_blocked(sold.ticket, event.revision + 1, now, blocked=blocked)
            if ticket is not sold.ticket:
                update_ticket(connection, ticket)
                take_revision(connection, event.event_id, ticket.revision)
                kind = ChangeKind.TICKET_BLOCKED if blocked else ChangeKind.TICKET_UNBLOCKED
                changes.record(connection, caller, ticket_change(kind, ticket), now)
            return replace(sold, ticket=ticket)

        sold = await self._database.run(work)
        self._on_change()
        return sold

    async def sweep(self) -> bool:
        """Continue due reissues; return whether more may be due."""
        due = await self._database.run(self._claim_due)
        await asyncio.gather(*(self._try_advance(reissue) for reissue in due))
        return len(due) == MAX_SWEEP

    def _request(self, connection: Connection, caller: Caller, request: ReissueRequest) -> Reissue:
        """Do step 1; return a PENDING reissue of another request if the ticket has one, which must be settled first."""
        key = RequestKey(request.caller, request.request_id, _fingerprint(request))
        # Looked up before the ticket: after a transfer the old holder may repeat the request, but not see the ticket.
        first = find_first(connection, key)
        if first is None:
            sold = lock_ticket(connection, request.ticket_id, ticket_visible_to(caller))
            if sold is None:
                raise ticket_not_found(request.ticket_id)
            pending = store.find_pending_reissue(connection, sold.ticket.event_id, request.ticket_id)
            if pending is not None:
                return pending
            now = self._clock()
            reissue = domain.request(sold, request, new_id(), now)
            first = claim(connection, key, reissue.event_id, reissue.reissue_id, now)
            if first is None:
                store.insert_reissue(connection, reissue)
                is_transfer = request.user_id is not None
                kind = ChangeKind.TRANSFER_REQUESTED if is_transfer else ChangeKind.REISSUE_REQUESTED
                changes.record(connection, caller, ticket_change(kind, sold.ticket, issue=reissue.issue), now)
                return reissue
        if first.fingerprint != key.fingerprint:
            raise request_id_reused(request.request_id)
        return store.find_reissue(connection, first.event_id, first.result_id)

    def _claim_due(self, connection: Connection) -> Sequence[Reissue]:
        """Claim due reissues, so that no other process tries them at the same time."""
        now = self._clock()
        due = store.lock_due(connection, now, MAX_SWEEP)
        for reissue in due:
            wait = timedelta(seconds=retry_seconds(reissue.attempts))
            store.update_reissue(connection, replace(reissue, attempts=reissue.attempts + 1, due_time=now + wait))
        return due

    async def _try_advance(self, reissue: Reissue) -> None:
        try:
            await self._advance(reissue)
        except Failure as failure:
            facts = {"event_id": reissue.event_id, "ticket_id": reissue.ticket_id, "attempts": reissue.attempts}
            log.warning("a reissue is tried again later", extra={**facts, "reason": failure.reason})

    async def _advance(self, reissue: Reissue) -> Reissue:
        """Do steps 2 and 3; return the settled reissue."""
        [outcome] = await self._revoker.revoke(reissue.event_id, [reissue.revocation])
        if outcome is None:
            raise scan_service_unavailable()
        now = self._clock()
        settled = await self._database.run(lambda c: settle(c, reissue, outcome, self._issuing, now))
        self._on_change()
        return settled


def settle(connection: Connection, reissue: Reissue, outcome: Outcome, issuing: Issuing, now: datetime) -> Reissue:
    """Do step 3 for a reissue that is still PENDING; return the settled reissue."""
    event = lock_event(connection, reissue.event_id)
    sold = lock_ticket(connection, reissue.ticket_id)
    reissue = store.lock_reissue(connection, reissue.event_id, reissue.reissue_id)
    if reissue.status is not ReissueStatus.PENDING or event is None or sold is None:
        return reissue
    reissue = domain.settle(reissue, sold.ticket, outcome, now)
    store.update_reissue(connection, reissue)
    if reissue.status is ReissueStatus.DONE:
        ticket = domain.apply_reissue(sold.ticket, reissue, event.revision + 1, now)
        update_ticket(connection, ticket, issuing.digests(issuing.secrets(ticket)))
        outbox.write(connection, reissue_settled(reissue, sold.ticket.user_id), now)
        take_revision(connection, event.event_id, ticket.revision)
    else:
        # The request had no effect, so a repetition may succeed after the check-in is annulled.
        forget(connection, reissue.caller, reissue.request_id)
    return reissue


def _fingerprint(request: ReissueRequest) -> bytes:
    # No user id contains a NUL.
    what = "ReissueTicket\0" if request.user_id is None else f"TransferTicket\0{request.user_id}\0"
    return hashlib.sha256(what.encode() + request.ticket_id.bytes).digest()
