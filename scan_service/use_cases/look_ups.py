"""LookUpTickets: the ticket service finds and records, and this service adds the admission state and a pass.

Nothing here is on the way of a scan: look-ups have their own bounds, and their calls to the ticket service a deadline.
"""

from datetime import timedelta
from typing import Final, Protocol

from sqlalchemy.engine import Connection

from scan_service.domain.look_ups import FoundTicket, FoundTickets, HeldTickets, LookUp
from scan_service.domain.refusals import look_up_not_allowed
from scan_service.store.clock import DatabaseClock
from scan_service.store.tickets import read_tickets
from scan_service.use_cases.access import check_access
from ticketing.admission.codes import Codes
from ticketing.admission.look_up_passes import LIFETIME, LookUpPass
from ticketing.chassis.database import Database
from ticketing.chassis.failures import overloaded
from ticketing.chassis.rate_limiter import RateLimiter

MINUTE: Final = timedelta(minutes=1)
# The look-ups of a process at once; the next one is OVERLOADED.
MAX_UNDER_WAY: Final = 16


class TicketFinder(Protocol):
    """The part of the ticket service that finds tickets."""

    async def find_tickets(self, look_up: LookUp) -> HeldTickets | None:
        """Return the tickets that match, or None where the event allows no look-ups."""


class LookUps:
    """The use case of look-ups; `per_minute` bounds those of one caller in this process, and 0 allows none."""

    def __init__(
        self, database: Database, finder: TicketFinder, codes: Codes, clock: DatabaseClock, per_minute: int
    ) -> None:
        self._database = database
        self._finder = finder
        self._codes = codes
        self._clock = clock
        self._is_on = per_minute > 0
        self._buckets = RateLimiter(max(per_minute, 1) / MINUTE.total_seconds(), max(per_minute, 1))
        self._under_way = 0

    async def look_up(self, look_up: LookUp) -> FoundTickets:
        """Find the tickets of a gate's event that match a text.

        A ticket that the replica does not have yet is left out: no gate could admit it by a pass.

        Raises:
            Failure: EVENT_NOT_FOUND as `check_access` does; LOOK_UP_NOT_ALLOWED; OVERLOADED; DEPENDENCY_UNAVAILABLE
                where the ticket service does not answer in time.
        """
        event_id = look_up.gate.event_id
        await self._database.run(lambda connection: check_access(connection, event_id, look_up.organizer_id))
        if not self._is_on:
            raise look_up_not_allowed(event_id, "SERVICE")
        held = await self._find(look_up)
        if held is None:
            raise look_up_not_allowed(event_id, "EVENT")
        ids = [ticket.ticket_id for ticket in held.tickets]

        def read(connection: Connection) -> FoundTickets:
            expire_time = (self._clock.read(connection) + LIFETIME).replace(microsecond=0)
            known = read_tickets(connection, event_id, ids)
            found = [
                FoundTicket(
                    known[one.ticket_id],
                    one.holder,
                    LookUpPass(event_id, one.ticket_id, one.issue, expire_time).sign(self._codes, look_up.caller),
                )
                for one in held.tickets
                if one.ticket_id in known
            ]
            return FoundTickets(found, held.more)

        return await self._database.run(read)

    async def _find(self, look_up: LookUp) -> HeldTickets | None:
        if wait := self._buckets.wait(look_up.caller):
            raise overloaded("look-ups of one caller", wait)
        if self._under_way >= MAX_UNDER_WAY:
            raise overloaded("look-ups")
        self._buckets.take(look_up.caller)
        self._under_way += 1
        try:
            return await self._finder.find_tickets(look_up)
        finally:
            self._under_way -= 1
