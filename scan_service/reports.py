"""Check-ins told to the ticket service afterwards, until it confirms them; no scan waits for that."""

import asyncio
import logging
from typing import Final

from chassis.database import Database
from scan_service.adapters.tickets import TicketService
from scan_service.store.reports import mark_reported, unreported

log = logging.getLogger(__name__)

# The contract's bound on one call.
MAX_CHECK_INS: Final = 1_000
# Between two looks where there was nothing to report.
PAUSE_SECONDS: Final = 0.25


class Reports:
    """Reports check-ins.

    Args:
        database: knows what has not been reported.
        tickets: the ticket service.
    """

    def __init__(self, database: Database, tickets: TicketService) -> None:
        self._database = database
        self._tickets = tickets

    async def report(self) -> None:
        """Report one batch, or wait a moment where there is none.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE where the ticket service or the database does not answer.
        """
        check_ins = await self._database.run(lambda connection: unreported(connection, MAX_CHECK_INS))
        if not check_ins:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        for conflict in await self._tickets.report(check_ins):
            log.warning(
                "a ticket was admitted that cannot be",
                extra={"event_id": conflict.event_id, "ticket_id": conflict.ticket_id, "status": conflict.status},
            )
        await self._database.run(lambda connection: mark_reported(connection, check_ins))
