"""Read tickets. A foreign ticket, which the caller may not see, is not found."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.access import listed_user
from ticket_service.domain.calendar_entries import CalendarOrganizer, TicketEntry, entries_of, holder_of
from ticket_service.domain.changes import person_search
from ticket_service.domain.queries import TicketQuery
from ticket_service.domain.refusals import ticket_code_not_found, ticket_not_found
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store.access import ticket_visible_to
from ticket_service.store.contacts import addresses_of_holders
from ticket_service.store.tickets import (
    find_tickets,
    list_tickets,
    tickets_of_holder,
    tickets_of_purchase,
    tickets_of_users,
)
from ticket_service.use_cases.batched_reads import BatchedReads
from ticket_service.use_cases.changes import record_search
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class Tickets:
    """The use cases of reading tickets; `organizer` is the sender of calendar entries."""

    def __init__(self, database: Database, organizer: CalendarOrganizer, clock: Clock) -> None:
        self._database = database
        self._reads = BatchedReads(database, "ticket reads", find_tickets)
        self._of_users: BatchedReads[str, list[SoldTicket]] = BatchedReads(
            database, "tickets of users", tickets_of_users
        )
        self._organizer = organizer
        self._clock = clock

    async def get(self, caller: Caller, ticket_id: UUID) -> SoldTicket:
        """Read one ticket that `caller` may see; raise TICKET_NOT_FOUND if there is none."""
        sold = await self._reads.get(ticket_id)
        if sold is None or not sold.is_visible_to(caller):
            raise ticket_not_found(ticket_id)
        return sold

    async def get_by_code(self, caller: Caller, code: str, code_digest: bytes) -> SoldTicket:
        """Read the ticket with this current code, if `caller` may see it; raise TICKET_NOT_FOUND otherwise."""
        sold = await self._reads.get(code_digest)
        if sold is None or not sold.is_visible_to(caller):
            raise ticket_code_not_found(code)
        return sold

    async def of_same_purchase(self, caller: Caller, sold: SoldTicket) -> Sequence[SoldTicket]:
        """Read the tickets of a ticket's purchase that `caller` may see, in the order in which they were issued."""
        ticket, visible = sold.ticket, ticket_visible_to(caller)
        return await self._database.run(lambda c: tickets_of_purchase(c, ticket.event_id, ticket.purchase_id, visible))

    async def calendar_entry(self, sold: SoldTicket) -> TicketEntry:
        """Read the present entry in the calendar of a ticket's holder, with all tickets of the holder for its hours."""
        ticket = sold.ticket

        def work(connection: Connection) -> TicketEntry:
            address = addresses_of_holders(connection, ticket.event_id, [ticket.ticket_id])[ticket.ticket_id]
            holder = holder_of(sold, address)
            held = tickets_of_holder(connection, ticket.event_id, holder)
            [entry] = entries_of(holder, [sold], held, self._organizer)
            return entry

        return await self._database.run(work)

    async def list(self, caller: Caller, query: TicketQuery, before: UUID | None, limit: int) -> Sequence[SoldTicket]:
        """Read up to `limit` tickets that `caller` may see, newest first."""
        now = self._clock()
        found = await self._list_few(caller, query, before, now)
        if found is None:
            found = await self._database.read(lambda c: list_tickets(c, caller, query, now, (before, limit)))
        found = found[:limit]
        searched = {"user_id": query.user_id, "email": query.email, "holder": query.holder}
        search = person_search("ListTickets", query.event_id, searched, len(found))
        await record_search(self._database, caller, search, self._clock)
        return found

    async def _list_few(
        self, caller: Caller, query: TicketQuery, before: UUID | None, now: datetime
    ) -> Sequence[SoldTicket] | None:
        """List the tickets of one user who has few; return None for any other list, which waits for the pool of lists."""
        user_id = listed_user(caller, query.user_id)
        if user_id is None or not query.is_of_user_alone:
            return None
        held = await self._of_users.get(user_id)
        if held is None:
            return None
        return [one for one in held if query.selects(one, now) and (before is None or one.ticket.ticket_id < before)]
