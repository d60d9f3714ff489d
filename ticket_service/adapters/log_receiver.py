"""Where no receiver is set: a line in the log for each notification, so that nothing happens unseen."""

import logging
from dataclasses import dataclass

from ticket_service.convert.cloud_events import cloud_event
from ticket_service.domain.notifications import Delivery, Kind

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogReceiver:
    """Logs notifications."""

    name: str = "log"
    kinds: tuple[Kind, ...] = tuple(Kind)
    by_purchase: bool = False
    at_once: int = 100

    async def deliver(self, delivery: Delivery) -> None:
        """Log it."""
        log.info("notification", extra={"notification": cloud_event(delivery)})

    async def close(self) -> None:
        """Let go of nothing."""
