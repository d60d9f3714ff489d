"""The interface of a receiver, and the deliveries to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from ticket_service.domain.notifications import Kind, Notification


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification on its way to one receiver."""

    notification: Notification
    # Receivers deduplicate by this id.
    notification_id: UUID
    receiver: str
    # The relay tries a notification only after the earlier ones of its stream are delivered or dead.
    stream: UUID
    # The position increases within a stream.
    position: int
    create_time: datetime
    # The number of tries, the present one included.
    attempts: int


class UndeliveredError(Exception):
    """A receiver did not accept a notification.

    Args:
        message: the cause, for operators; stored, so it must not contain an address.
        is_permanent: another try of this notification cannot succeed.
        is_gone: the receiver wants no notification any more; the relay disables it.
        retry_after: the receiver asked for no notification before this time has passed.
    """

    def __init__(
        self, message: str, *, is_permanent: bool = False, is_gone: bool = False, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
        self.is_gone = is_gone
        self.retry_after = retry_after


class Receiver(Protocol):
    """A destination of notifications."""

    @property
    def name(self) -> str:
        """Return the name of the receiver in the database and in logs."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """Return the kinds of notifications that the relay delivers to it."""

    @property
    def by_purchase(self) -> bool:
        """Return whether a notification about an event becomes one delivery for each purchase of the event."""

    @property
    def max_parallel(self) -> int:
        """Return how many deliveries run at the same time."""

    @property
    def preparation_seconds(self) -> float:
        """Return for how long `deliver` may prepare a delivery, beyond the deadline of the delivery itself."""

    async def deliver(self, delivery: Delivery) -> None:
        """Deliver a notification; raise UndeliveredError if it was rejected or the answer was lost."""

    async def close(self) -> None:
        """Close open connections."""
