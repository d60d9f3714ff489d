"""Read the position of the replica, so that the ticket service can say what the gates have."""

from uuid import UUID

from scan_service.domain.feed import ReplicaPosition
from scan_service.store.clock import DatabaseClock
from scan_service.store.feed import read_event_position
from ticketing.chassis.database import Database


class ReplicaPositions:
    """The use case of reading the position of the replica."""

    def __init__(self, database: Database, clock: DatabaseClock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, event_id: UUID) -> ReplicaPosition:
        """Read the position for one event."""
        return await self._database.read(lambda c: read_event_position(c, event_id, self._clock.read(c)))
