"""Revocations: an answered revocation applies at every gate from then on.

A revocation and a scan lock the same ticket row; the first one takes effect, and the second one finds its result. A
revocation does not lock the event row, which contains nothing about one ticket.
"""

import logging
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.revocations import Revocation, RevocationOutcome, apply_revocation, decide_outcome
from scan_service.store import revocations as store
from scan_service.store.clock import DatabaseClock
from ticketing.admission.codes import Codes
from ticketing.admission.tickets import Ticket
from ticketing.chassis.database import Database, RowsLocked
from ticketing.chassis.failures import invalid

log = logging.getLogger(__name__)
# The ids of locked tickets in one line.
MAX_LOGGED: Final = 10


class Revocations:
    """The use case that revokes tickets and events."""

    def __init__(self, database: Database, codes: Codes, clock: DatabaseClock) -> None:
        self._database = database
        self._codes = codes
        self._clock = clock

    async def revoke_tickets(
        self, event_id: UUID, revocations: Sequence[Revocation], *, skip_locked: bool = False
    ) -> Sequence[RevocationOutcome | None]:
        """Revoke tickets and return the outcomes; a repeated revocation has its first outcome.

        With `skip_locked`, the outcome is None where another session has locked the ticket for longer than the
        lock_timeout of the pool.

        Raises:
            Failure: INVALID_ARGUMENT where a revocation_id was used for another ticket; OVERLOADED because of a locked
                row.
        """
        try:
            return await self._database.run(lambda connection: self._revoke(connection, event_id, revocations))
        except RowsLocked:
            if not skip_locked:
                raise
            return await self._database.run(lambda connection: self._revoke_free(connection, event_id, revocations))

    async def revoke_event(self, event_id: UUID) -> int:
        """Close an event, known or not, and return the number of tickets that were checked in before."""

        def close(connection: Connection) -> int:
            store.close_event(connection, event_id)
            return store.count_checked_in(connection, event_id)

        return await self._database.run(close)

    def _revoke_free(
        self, connection: Connection, event_id: UUID, revocations: Sequence[Revocation]
    ) -> Sequence[RevocationOutcome | None]:
        locked = store.skip_locked(connection, event_id, {revocation.ticket_id for revocation in revocations})
        if locked:
            log.warning(
                "tickets are locked by another session; their revocations wait",
                extra={"event_id": event_id, "ticket_ids": sorted(map(str, locked))[:MAX_LOGGED]},
            )
        free = [revocation for revocation in revocations if revocation.ticket_id not in locked]
        outcomes = iter(self._revoke(connection, event_id, free))
        return [None if revocation.ticket_id in locked else next(outcomes) for revocation in revocations]

    def _revoke(
        self, connection: Connection, event_id: UUID, revocations: Sequence[Revocation]
    ) -> Sequence[RevocationOutcome]:
        unknown = dict[UUID, tuple[UUID, int, bytes]]()
        for revocation in revocations:
            code = self._codes.code(revocation.ticket_id, revocation.issue)
            unknown[revocation.ticket_id] = (revocation.ticket_id, revocation.issue, self._codes.digest(code))
        tickets = store.lock_tickets(connection, event_id, unknown.values())
        # The outcomes are read after the tickets are locked: another call may have decided a revocation meanwhile.
        outcomes = store.read_outcomes(connection, event_id, [revocation.revocation_id for revocation in revocations])
        new_outcomes = dict[Revocation, RevocationOutcome]()
        changed = dict[UUID, Ticket]()
        for index, revocation in enumerate(revocations):
            outcome = outcomes.get(revocation.revocation_id)
            if outcome is None:
                ticket = tickets[revocation.ticket_id]
                outcome = outcomes[revocation.revocation_id] = new_outcomes[revocation] = decide_outcome(
                    ticket, revocation
                )
                if outcome.check_in_time is None:
                    ticket = apply_revocation(ticket, revocation, self._codes)
                    changed[ticket.ticket_id] = tickets[ticket.ticket_id] = ticket
            elif outcome.ticket_id != revocation.ticket_id:
                raise invalid(f"revocations[{index}].revocation_id", "was used for another ticket")
        store.update_tickets(connection, event_id, list(changed.values()))
        store.save_outcomes(connection, event_id, new_outcomes, self._clock.read(connection))
        return [outcomes[revocation.revocation_id] for revocation in revocations]
