"""Record reported incidents: each causes one notification, however often the scan service reports it."""

import logging
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ticket_service.domain.incidents import Incident, divide_by_event
from ticket_service.domain.notifications import incident
from ticket_service.store import incidents as store
from ticket_service.store import outbox
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

log = logging.getLogger(__name__)


async def report(database: Database, clock: Clock, reports: Sequence[Incident]) -> None:
    """Record reported incidents; notify of the new incidents."""
    now = clock()

    def work(connection: Connection) -> list[Incident]:
        here, elsewhere = divide_by_event(reports, store.known_events(connection, reports))
        store.lock_tickets(connection, here.values())
        new = store.record(connection, here.values(), now)
        outbox.write(connection, [incident(here[key]) for key in new], now)
        return elsewhere

    for unknown in await database.run(work):
        facts = {"event_id": unknown.event_id, "incident_id": unknown.incident_id, "kind": unknown.kind}
        log.warning("an incident of an unknown event causes no notification", extra=facts)
