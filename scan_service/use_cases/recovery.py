"""List the state that this database has, for a ticket service whose database was restored to an earlier moment."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from scan_service.domain.recovery import KnownEvent, KnownKey, KnownTicket
from scan_service.store import recovery as store
from ticketing.chassis.database import Database

# Revocations of one ticket in a response; a ticket has one for each reissue and one for its cancellation.
MAX_REVOCATIONS: Final = 100


class KnownState:
    """The use cases of listing events, tickets and keys, on connections that no gate waits for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def events(self, after: UUID, limit: int) -> Sequence[KnownEvent]:
        """Read up to `limit` events after an id, by id."""
        return await self._database.run(lambda c: store.list_events(c, after, limit))

    async def tickets(self, event_id: UUID, after: UUID, limit: int) -> Sequence[KnownTicket]:
        """Read up to `limit` tickets of an event after an id, by id."""
        return await self._database.run(lambda c: store.list_tickets(c, event_id, after, limit, MAX_REVOCATIONS))

    async def keys(self) -> tuple[Sequence[KnownKey], Sequence[KnownKey]]:
        """Read all keys, and those that are retired for good."""
        return await self._database.run(store.list_keys)
