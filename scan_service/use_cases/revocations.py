"""Taking admission rights back, so that what was answered here holds at every gate from then on.

A revocation and a scan lock the same row of the ticket; whoever has it first is the one that the other finds. The
event's row is left alone: it says nothing about one ticket.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.revocations import Outcome, Revocation, outcome_of, revoked
from scan_service.store import revocations as store
from ticketing.admission.codes import Codes
from ticketing.admission.tickets import Ticket
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import invalid


class Revocations:
    """Revokes tickets and events.

    Args:
        database: the scans database.
        codes: of the issues that work from now on.
        clock: the present time.
    """

    def __init__(self, database: Database, codes: Codes, clock: Clock) -> None:
        self._database = database
        self._codes = codes
        self._clock = clock

    async def revoke_tickets(self, event_id: UUID, revocations: Sequence[Revocation]) -> Sequence[Outcome]:
        """Settle each revocation once and for all; repeated, it has the same outcome.

        Raises:
            Failure: INVALID_ARGUMENT where a revocation_id was used for another ticket.
        """
        return await self._database.run(lambda connection: self._settle(connection, event_id, revocations))

    async def revoke_event(self, event_id: UUID) -> int:
        """Close an event, known or not, and return how many tickets were checked in before."""

        def close(connection: Connection) -> int:
            store.close_event(connection, event_id)
            return store.count_checked_in(connection, event_id)

        return await self._database.run(close)

    def _settle(self, connection: Connection, event_id: UUID, revocations: Sequence[Revocation]) -> Sequence[Outcome]:
        unknown = {
            revocation.ticket_id: (
                revocation.ticket_id,
                revocation.issue,
                self._codes.digest(self._codes.code(revocation.ticket_id, revocation.issue)),
            )
            for revocation in revocations
        }
        tickets = store.hold_tickets(connection, event_id, unknown.values())
        # Read once the tickets are held: the same revocation may have been settled while we waited for them.
        outcomes = store.read_outcomes(connection, event_id, [revocation.revocation_id for revocation in revocations])
        settled = dict[Revocation, Outcome]()
        changed = dict[UUID, Ticket]()
        for index, revocation in enumerate(revocations):
            outcome = outcomes.get(revocation.revocation_id)
            if outcome is None:
                ticket = tickets[revocation.ticket_id]
                outcome = outcomes[revocation.revocation_id] = settled[revocation] = outcome_of(ticket, revocation)
                if outcome.check_in_time is None:
                    changed[ticket.ticket_id] = tickets[ticket.ticket_id] = revoked(ticket, revocation, self._codes)
            elif outcome.ticket_id != revocation.ticket_id:
                raise invalid(f"revocations[{index}].revocation_id", "was used for another ticket")
        store.save_revoked(connection, event_id, list(changed.values()))
        store.save_outcomes(connection, event_id, settled, self._clock())
        return [outcomes[revocation.revocation_id] for revocation in revocations]
