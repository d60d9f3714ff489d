"""Which roles may call which RPC; what is not named here is denied."""

from typing import Final

from ticketing.chassis.authentication import Role
from ticketing.chassis.interceptor import Policy

_READERS: Final = frozenset({Role.USER, Role.ORGANIZER, Role.SCANNER, Role.SERVICE})
_BUYERS: Final = frozenset({Role.USER, Role.ORGANIZER, Role.SERVICE})
_BACKENDS: Final = frozenset({Role.ORGANIZER, Role.SERVICE})
_ORGANIZERS: Final = frozenset({Role.ORGANIZER})
_PEERS: Final = frozenset({Role.PEER})

POLICY: Final[Policy] = {
    "/ticketing.tickets.v1.EventService/CreateEvent": _ORGANIZERS,
    "/ticketing.tickets.v1.EventService/GetEvent": _READERS,
    "/ticketing.tickets.v1.EventService/ListEvents": _READERS,
    "/ticketing.tickets.v1.EventService/UpdateEvent": _ORGANIZERS,
    "/ticketing.tickets.v1.EventService/PublishEvent": _ORGANIZERS,
    "/ticketing.tickets.v1.EventService/CancelEvent": _ORGANIZERS,
    "/ticketing.tickets.v1.EventService/GetEventSales": _ORGANIZERS,
    "/ticketing.tickets.v1.PurchaseService/PurchaseTickets": _BUYERS,
    "/ticketing.tickets.v1.PurchaseService/ConfirmPurchase": _BUYERS,
    "/ticketing.tickets.v1.PurchaseService/ReleasePurchase": _BUYERS,
    "/ticketing.tickets.v1.PurchaseService/GetPurchase": _BUYERS,
    "/ticketing.tickets.v1.PurchaseService/ListPurchases": _BUYERS,
    "/ticketing.tickets.v1.TicketService/GetTicket": _BUYERS,
    "/ticketing.tickets.v1.TicketService/ListTickets": _BUYERS,
    "/ticketing.tickets.v1.TicketService/RenderTicket": _BUYERS,
    "/ticketing.tickets.v1.TicketService/CancelTicket": _BUYERS,
    "/ticketing.tickets.v1.TicketService/GetCancellation": _BUYERS,
    "/ticketing.tickets.v1.TicketService/ListCancellations": _BUYERS,
    "/ticketing.tickets.v1.TicketService/RetryRefund": _ORGANIZERS,
    "/ticketing.tickets.v1.TicketService/ConfirmRefund": _BACKENDS,
    "/ticketing.tickets.v1.TicketService/ReissueTicket": _BUYERS,
    "/ticketing.tickets.v1.TicketService/TransferTicket": _BUYERS,
    "/ticketing.tickets.v1.TicketService/SetTicketBlocked": _ORGANIZERS,
    "/ticketing.tickets.v1.TicketFeedService/WatchTickets": _PEERS,
    "/ticketing.tickets.v1.TicketFeedService/GetSigningKeys": _PEERS,
    "/ticketing.tickets.v1.TicketFeedService/ReportCheckIns": _PEERS,
    "/ticketing.tickets.v1.TicketFeedService/ReportIncidents": _PEERS,
}
