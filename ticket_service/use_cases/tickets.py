"""Reading tickets: whose they are is part of every query, so a foreign one does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ticket_service.domain.reasons import Reason
from ticket_service.domain.tickets import SoldTicket, TicketStatus
from ticket_service.store import tickets as store
from ticket_service.store.tables import tickets as table
from ticketing.chassis.authentication import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure


@dataclass(frozen=True, slots=True)
class TicketQuery:
    """Which tickets are listed."""

    status: TicketStatus | None
    event_id: UUID | None
    # "": the caller's; for organizers and services all they may see.
    user_id: str


class Tickets:
    """The tickets.

    Args:
        database: where they are.
        clock: the present time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, caller: Caller, ticket_id: UUID) -> SoldTicket:
        """Read one ticket that `caller` may see."""
        found = await self._find(caller, [table.c.ticket_id == ticket_id])
        if not found:
            raise ticket_not_found(ticket_id)
        return found[0]

    async def get_by_code(self, caller: Caller, code: str, code_digest: bytes) -> SoldTicket:
        """Read the ticket that `caller` may see whose present code it is."""
        found = await self._find(caller, [table.c.code_digest == code_digest])
        if not found:
            raise Failure(Reason.TICKET_NOT_FOUND, "there is no ticket with this code", code=code)
        return found[0]

    async def list(self, caller: Caller, query: TicketQuery, before: UUID | None, limit: int) -> Sequence[SoldTicket]:
        """Read up to `limit` tickets that `caller` may see, newest first."""
        conditions = [store.of_user(caller, query.user_id)]
        if query.status is not None:
            conditions.append(store.has_status(query.status, self._clock()))
        if query.event_id is not None:
            conditions.append(table.c.event_id == query.event_id)
        if before is not None:
            conditions.append(table.c.ticket_id < before)
        return await self._find(caller, conditions, limit)

    async def _find(
        self, caller: Caller, conditions: Sequence[store.Condition], limit: int | None = None
    ) -> Sequence[SoldTicket]:
        mine = [*conditions, store.visible_to(caller)]
        return await self._database.run(lambda connection: store.find_tickets(connection, mine, limit))


def ticket_not_found(ticket_id: UUID) -> Failure:
    """Say that there is no such ticket, or none that the caller may see."""
    return Failure(Reason.TICKET_NOT_FOUND, "there is no such ticket", ticket_id=ticket_id)
