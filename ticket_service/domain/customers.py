"""Bound what one customer of an event holds unpaid and owns, and find a customer's own hold again.

A customer is a user. For an order that a service or an organizer places for nobody by name, the customer is the e-mail
address of the order; without an address there is no customer, and no bound applies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ticket_service.domain.events import Event, TicketType
from ticket_service.domain.purchases import Item
from ticket_service.domain.reasons import Reason
from ticketing.chassis.failures import RETRY_SOON, Failure


@dataclass(frozen=True, slots=True)
class Customer:
    """A user, or a guest who has only an address; exactly one field is not empty."""

    user_id: str = ""
    # In lower case.
    address: str = ""


@dataclass(frozen=True, slots=True)
class CustomerBounds:
    """The bounds of the service, each in places of one event; 0 sets no bound.

    An event's own bounds replace `max_held` and `max_tickets`.
    """

    max_held: int
    max_tickets: int
    # Places that are held unpaid, or that returned to sale unpaid within `unpaid_window`.
    max_unpaid: int
    unpaid_window: timedelta


UNBOUNDED: Final = CustomerBounds(0, 0, 0, timedelta())


@dataclass(frozen=True, slots=True)
class Hold:
    """A HELD purchase of a customer."""

    purchase_id: UUID
    items: tuple[Item, ...]
    provider: str
    expire_time: datetime


@dataclass(slots=True)
class Holdings:
    """The places of one customer of an event, including the sales of the batch so far."""

    holds: list[Hold] = field(default_factory=list)
    # The tickets that take up a place, by type.
    tickets: dict[TicketType, int] = field(default_factory=dict)
    # The time when unpaid places returned to sale, and their number.
    returned: list[tuple[datetime, int]] = field(default_factory=list)

    def hold_of(self, items: Sequence[Item], provider: str, now: datetime) -> Hold | None:
        """Return the hold of exactly these items that has not expired, or None."""
        wanted = frozenset(items)
        for hold in self.holds:
            if frozenset(hold.items) == wanted and hold.provider == provider and now < hold.expire_time:
                return hold
        return None

    def add_tickets(self, items: Iterable[Item]) -> None:
        """Add the tickets of a new purchase."""
        for item in items:
            self.tickets[item.ticket_type] = self.tickets.get(item.ticket_type, 0) + item.quantity


def check_holds(event: Event, items: Sequence[Item], holdings: Holdings, bounds: CustomerBounds, now: datetime) -> None:
    """Raise CUSTOMER_HOLD_LIMIT if the customer may not hold these items unpaid as well."""
    held = [(hold.expire_time, hold.items) for hold in holdings.holds]
    maximum = bounds.max_held if event.max_held_per_customer is None else event.max_held_per_customer
    _check_held(event, maximum, [(time, _places(its)) for time, its in held], _places(items), now)
    for item in items:
        offer = event.offer(item.ticket_type)
        if offer is not None and offer.max_held_per_customer:
            of_type = [(time, _places(its, item.ticket_type)) for time, its in held]
            _check_held(event, offer.max_held_per_customer, of_type, item.quantity, now, item.ticket_type)
    window = bounds.unpaid_window
    unpaid = [(time, _places(its)) for time, its in held]
    unpaid += [(time, places) for time, places in holdings.returned if now < time + window]
    leaving = [(time + window, places) for time, places in unpaid]
    _check_held(event, bounds.max_unpaid, leaving, _places(items), now, within=window)


def check_tickets(event: Event, items: Sequence[Item], holdings: Holdings, bounds: CustomerBounds) -> None:
    """Raise CUSTOMER_TICKET_LIMIT if the customer may not have these items as well; holds count as tickets."""
    held = [item for hold in holdings.holds for item in hold.items]
    maximum = bounds.max_tickets if event.max_tickets_per_customer is None else event.max_tickets_per_customer
    if maximum:
        have = sum(holdings.tickets.values()) + _places(held)
        _check_owned(event, maximum, have, _places(items))
    for item in items:
        offer = event.offer(item.ticket_type)
        if offer is not None and offer.max_tickets_per_customer:
            have = holdings.tickets.get(item.ticket_type, 0) + _places(held, item.ticket_type)
            _check_owned(event, offer.max_tickets_per_customer, have, item.quantity, item.ticket_type)


def counts_tickets(max_of_event: int | None, bounds: CustomerBounds) -> bool:
    """Return whether a bound on the tickets of all types together applies, given the bound of the event."""
    return bool(bounds.max_tickets if max_of_event is None else max_of_event)


def _check_held(  # noqa: PLR0913, PLR0917 - one bound with all that its refusal reports
    event: Event,
    maximum: int,
    leaving: Sequence[tuple[datetime, int]],
    requested: int,
    now: datetime,
    ticket_type: TicketType | None = None,
    within: timedelta = timedelta(),
) -> None:
    """Check one bound; `leaving` are the counted places, each with the time from which it counts no more."""
    have = sum(places for _, places in leaving)
    if not maximum or have + requested <= maximum:
        return
    message = f"the customer has {have} unpaid places and may have {maximum}; {requested} more were requested"
    facts = _facts(event, maximum, have, requested, ticket_type) | {"within_seconds": round(within.total_seconds())}
    retry_after = None
    for time, places in sorted(leaving):
        have -= places
        if have + requested <= maximum:
            retry_after = max(time - now, RETRY_SOON)
            break
    raise Failure(Reason.CUSTOMER_HOLD_LIMIT, message, retry_after=retry_after, **facts)


def _check_owned(event: Event, maximum: int, have: int, requested: int, ticket_type: TicketType | None = None) -> None:
    if have + requested > maximum:
        message = f"the customer has {have} tickets and may have {maximum}; {requested} more were requested"
        raise Failure(Reason.CUSTOMER_TICKET_LIMIT, message, **_facts(event, maximum, have, requested, ticket_type))


def _facts(event: Event, maximum: int, have: int, requested: int, ticket_type: TicketType | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"event_id": event.event_id, "max": maximum, "have": have, "requested": requested}
    return facts if ticket_type is None else {**facts, "ticket_type": ticket_type}


def _places(items: Iterable[Item], ticket_type: TicketType | None = None) -> int:
    return sum(item.quantity for item in items if ticket_type in {None, item.ticket_type})
