"""The sums of an event's sales."""

from dataclasses import dataclass

from ticket_service.domain.events import TicketType
from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class SalesLine:
    """The sales of one ticket type in one status; amounts in minor units of the event's currency."""

    ticket_type: TicketType
    status: TicketStatus
    tickets: int
    paid: int
    # Refunds that are due or made.
    refunded: int


@dataclass(frozen=True, slots=True)
class EventSales:
    """The sales of one event."""

    currency: str
    lines: tuple[SalesLine, ...]
    # Refunds that are due and not confirmed yet.
    refunds_pending: int
    # Refunds that the payment provider refused.
    refunds_failed: int
