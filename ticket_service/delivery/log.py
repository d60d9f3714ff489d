"""Where no receiver is set: a line in the log for each notification, so that nothing happens unseen.

Straight from the outbox: a log takes everything at once and never fails. Through deliveries, with their claims and tries,
each line took more of the database than the check-in that it told of.
"""

import logging
from typing import Final

from sqlalchemy.engine import Connection

from ticket_service.delivery.cloud_events import cloud_event
from ticket_service.store.outbox import drop, take
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)
# Rows of the outbox in one transaction.
MAX_BATCH: Final = 1_000


class LogRelay:
    """Logs what is in the outbox.

    Args:
        database: its own, so that nothing else waits for its threads.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self) -> bool:
        """Log what there is; tell whether there may be more."""
        return await self._database.run(_log_some) == MAX_BATCH


def _log_some(connection: Connection) -> int:
    """Log before the commit: a line may come twice, and never not at all."""
    if not log.isEnabledFor(logging.INFO):
        return drop(connection, MAX_BATCH)
    taken = take(connection, "log", MAX_BATCH)
    for delivery in taken:
        log.info("notification", extra={"notification": cloud_event(delivery)})
    return len(taken)
