"""FindTickets: a gate looks up the ticket of a person who can present neither token nor code."""

from sqlalchemy.engine import Connection

from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.look_ups import MAX_FOUND, FoundTickets, LookUp, read_search
from ticket_service.store import changes, look_ups
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class LookUps:
    """The use case of look-ups; `database` is a small pool of its own, because a search may take a second."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, look_up: LookUp) -> FoundTickets | None:
        """Find tickets and record the look-up; return None, without a record, where the event allows none."""
        search = read_search(look_up.text)
        now = self._clock()

        def work(connection: Connection) -> FoundTickets | None:
            if not look_ups.allows_look_ups(connection, look_up.event_id):
                return None
            found = look_ups.find_tickets(connection, look_up.event_id, search, MAX_FOUND + 1)
            result = FoundTickets(found[:MAX_FOUND], more=len(found) > MAX_FOUND)
            details = {"location": look_up.location, "results": len(result.tickets)}
            change = Change(ChangeKind.TICKETS_LOOKED_UP, look_up.event_id, details=details)
            changes.record(connection, look_up.caller, change, now)
            return result

        return await self._database.run(work)
