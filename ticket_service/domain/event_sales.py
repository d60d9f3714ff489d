"""What an event's tickets brought in, summed up."""

from dataclasses import dataclass

from ticket_service.domain.events import TicketType
from ticket_service.domain.tickets import TicketStatus


@dataclass(frozen=True, slots=True)
class SalesLine:
    """Sales of one ticket type in one status; amounts in minor units of the event's currency."""

    ticket_type: TicketType
    status: TicketStatus
    tickets: int
    paid: int
    # Owed or made.
    refunded: int


@dataclass(frozen=True, slots=True)
class EventSales:
    """Sales of one event."""

    currency: str
    lines: tuple[SalesLine, ...]
    # Owed, but not confirmed by the payment provider yet.
    refunds_pending: int
    # Refused by the payment provider.
    refunds_failed: int
