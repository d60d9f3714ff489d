"""The check that a caller may access an event, at the start of a transaction."""

from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.refusals import event_not_found
from scan_service.store.events import is_accessible


def check_access(connection: Connection, event_id: UUID, organizer_id: str | None) -> None:
    """Raise EVENT_NOT_FOUND unless the event exists and belongs to `organizer_id`; None: every organizer is allowed."""
    if not is_accessible(connection, event_id, organizer_id):
        raise event_not_found(event_id)
