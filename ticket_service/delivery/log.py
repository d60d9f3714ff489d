"""Log each notification if no receiver is configured.

The relay logs from the outbox without deliveries, because a log accepts every line at once. A first draft with claims
and retries cost the database more for each line than the check-in that the line reported.
"""

import logging
from typing import Final

from sqlalchemy.engine import Connection

from ticket_service.delivery.cloud_events import cloud_event
from ticket_service.delivery.store.dispatch import delete_outbox_rows, take_outbox_rows
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)
# Rows of the outbox in one transaction.
MAX_BATCH: Final = 1_000


class LogRelay:
    """A relay that logs the notifications of the outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self) -> bool:
        """Log one batch; return whether the outbox may have more rows."""
        return await self._database.run(_log_batch) == MAX_BATCH


def _log_batch(connection: Connection) -> int:
    """Log first, then commit: a line may repeat but is never lost."""
    if not log.isEnabledFor(logging.INFO):
        return delete_outbox_rows(connection, MAX_BATCH)
    taken = take_outbox_rows(connection, "log", MAX_BATCH)
    for delivery in taken:
        log.info("notification", extra={"notification": cloud_event(delivery)})
    return len(taken)
