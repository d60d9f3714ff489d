"""Export figures of the whole database: the replica, devices, reports, and incidents.

Every process exports the same values, so none depends on the process that leads.
"""

from time import monotonic
from typing import Final

from scan_service.domain.incidents import IncidentKind
from scan_service.store.figures import read_figures
from ticketing.chassis.database import Database
from ticketing.chassis.metrics import database_gauge

INTERVAL_SECONDS: Final = 5.0
# The reads of a long backlog take at most this share of the time.
MAX_SHARE: Final = 0.05

COMPLETE: Final = database_gauge(
    "ticketing_replica_complete_timestamp_seconds",
    "The last time when the replica had every change and the feed was silent for a second; 0: never.",
)
CONNECTED: Final = database_gauge("ticketing_gate_devices_connected", "Gate devices with an open stream.")
ENROLLED: Final = database_gauge("ticketing_gate_devices_enrolled", "Gate devices that are enrolled and not revoked.")
UNREPORTED: Final = database_gauge(
    "ticketing_unreported", "Check-ins and incidents that the ticket service has not confirmed.", ["reports"]
)
INCIDENTS: Final = database_gauge(
    "ticketing_incidents", "Incidents of events that have not ended, or ended less than a day ago.", ["kind"]
)


class FiguresExport:
    """The step of the background task that reads the figures and sets the gauges."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_read = 0.0

    async def sweep(self) -> bool:
        """Read the figures and set the gauges; return False."""
        begin = monotonic()
        if begin < self._next_read:
            return False
        figures = await self._database.run(read_figures)
        self._next_read = begin + (monotonic() - begin) / MAX_SHARE
        COMPLETE.set(0.0 if figures.complete_time is None else figures.complete_time.timestamp())
        CONNECTED.set(figures.connected_devices)
        ENROLLED.set(figures.enrolled_devices)
        UNREPORTED.labels("check_ins").set(figures.unreported_check_ins)
        UNREPORTED.labels("incidents").set(figures.unreported_incidents)
        for kind in IncidentKind:
            INCIDENTS.labels(kind).set(figures.incidents.get(kind, 0))
        return False
