"""The figures of the whole database that the metrics show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ticket_service.domain.owed_refunds import OwedRefundStatus


@dataclass(frozen=True, slots=True)
class Backlog:
    """Unfinished work of one kind."""

    count: int
    # None: there is none.
    oldest_time: datetime | None


@dataclass(frozen=True, slots=True)
class EventPlaces:
    """The places of one event on sale."""

    event_id: UUID
    name: str
    # Sold and held places.
    reserved: int
    # None: neither the event nor all of its offers have a bound.
    left: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures at one moment."""

    # HELD purchases, and since when the first of them has been over.
    holds: int
    overdue_time: datetime | None
    # The unfinished work that needs the scan service, by kind.
    pending: Mapping[str, Backlog]
    owed_refunds: Mapping[OwedRefundStatus, Backlog]
    # The captured payments without a purchase, which a person has to refund.
    unmatched_payments: int
    events: Sequence[EventPlaces]


def places_left(capacity: int | None, reserved: int, offers: Sequence[tuple[int | None, int]]) -> int | None:
    """Return how many places of an event are left; `offers` have a capacity and the reserved places each.

    Returns:
        None: the event has no capacity, and has no offers or one without a capacity.
    """
    bounds = [] if capacity is None else [capacity - reserved]
    of_offers = [None if maximum is None else maximum - taken for maximum, taken in offers]
    bounded = [left for left in of_offers if left is not None]
    if of_offers and len(bounded) == len(of_offers):
        bounds.append(sum(bounded))
    return min(bounds, default=None)
