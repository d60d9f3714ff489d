"""GetTicketHolder: the name of the holder of a ticket that a gate has just scanned."""

from uuid import UUID

from ticket_service.domain.look_ups import shown_name
from ticket_service.store.holders import read_holder_name
from ticketing.chassis.database import Database


async def holder_name(database: Database, event_id: UUID, ticket_id: UUID) -> str | None:
    """Return the name, empty where it is unknown; return None where the event does not allow names."""
    name = await database.run(lambda connection: read_holder_name(connection, event_id, ticket_id))
    return None if name is None else shown_name(name)
