"""Ask whether the gates have the newest state of an event or of a ticket."""

import logging
from typing import Protocol
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.gate_replica import GateReplica, Head, ReplicaPosition, compare
from ticket_service.domain.refusals import event_not_found, ticket_not_found
from ticket_service.store import feed as store
from ticket_service.store.access import event_administered_by
from ticket_service.store.events import find_event
from ticketing.chassis.callers import Caller
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)


class ReplicaReader(Protocol):
    """A client that reads the position of the scan service's replica."""

    async def replica_position(self, event_id: UUID) -> ReplicaPosition:
        """Read the position for one event, or raise DEPENDENCY_UNAVAILABLE."""


class GateReplicas:
    """The use case of comparing the gates with the newest state."""

    def __init__(self, database: Database, reader: ReplicaReader) -> None:
        self._database = database
        self._reader = reader

    async def get(self, caller: Caller, event_id: UUID, ticket_id: UUID | None) -> GateReplica:
        """Compare the gates with an event that `caller` administers, or with one of its tickets.

        Raises:
            Failure: EVENT_NOT_FOUND or TICKET_NOT_FOUND.
        """
        administered = event_administered_by(caller)

        def check(connection: Connection) -> None:
            if find_event(connection, event_id, administered) is None:
                raise event_not_found(event_id)

        def read(connection: Connection) -> Head:
            head = store.head(connection, event_id, ticket_id)
            if head is None:
                raise ticket_not_found(ticket_id) if ticket_id is not None else event_not_found(event_id)
            return head

        await self._database.run(check)
        position: ReplicaPosition | None = None
        try:
            position = await self._reader.replica_position(event_id)
        except Failure as failure:
            log.warning(
                "the position of the gates is not known", extra={"event_id": event_id, "reason": failure.reason}
            )
        # Read after the position: a position beyond the newest state then proves that commits were lost.
        return compare(await self._database.run(read), position)
