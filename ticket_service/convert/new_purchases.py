"""Conversion of new purchases to responses, from memory.

The purchases of one batch have one time and few events, so most of them differ in a few fields only. A response is a copy
of the last one for the same items, with these fields replaced: that takes a tenth of the time of building it anew.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from ticket_service.convert.purchases import purchase_message
from ticket_service.convert.tickets import ticket_message
from ticket_service.domain.events import Event
from ticket_service.domain.purchases import Item, PurchaseStatus
from ticket_service.domain.sales import Sale
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket
from ticketing.chassis.callers import Caller
from ticketing.tickets.v1 import purchase_service_pb2 as pb

_Kind = tuple[UUID, tuple[Item, ...], str, PurchaseStatus]
_NO_SECRETS: Final = Secrets("", "")


class NewPurchases:
    """The responses of the present batch, by what their purchases have in common."""

    def __init__(self) -> None:
        self._time: datetime | None = None
        self._responses: dict[_Kind, tuple[Event, pb.PurchaseTicketsResponse]] = {}

    def response(self, caller: Caller, sale: Sale, secrets: Sequence[Secrets]) -> pb.PurchaseTicketsResponse:
        """Build the response of a sale; its caller is the buyer or acts for the buyer."""
        purchase = sale.purchase
        response = pb.PurchaseTicketsResponse()
        response.CopyFrom(self._like(caller, sale))
        message = response.purchase
        message.purchase_id = purchase_id = str(purchase.purchase_id)
        message.user_id = purchase.user_id
        message.language = purchase.language
        message.payment.payment_id = payment_id = purchase.payment_id or ""
        for ticket, its, of_ticket in zip(sale.tickets, secrets, message.tickets, strict=True):
            of_ticket.ticket_id = str(ticket.ticket_id)
            of_ticket.purchase_id = purchase_id
            of_ticket.user_id = ticket.user_id
            of_ticket.payment_id = payment_id
            of_ticket.code, of_ticket.token = its.code, its.token
            if purchase.metadata:
                of_ticket.metadata.update(purchase.metadata)  # type: ignore[arg-type]  # it came in as a Struct
        return response

    def _like(self, caller: Caller, sale: Sale) -> pb.PurchaseTicketsResponse:
        """Return a response for the same items without the metadata of its purchase."""
        purchase, event = sale.purchase, sale.event
        if purchase.create_time != self._time:
            self._time = purchase.create_time
            self._responses.clear()
        kind = (event.event_id, purchase.items, purchase.provider, purchase.status)
        found = self._responses.get(kind)
        # Batches at the same time may have different versions of the event.
        if found is not None and found[0] is event:
            return found[1]
        tickets = [
            ticket_message(SoldTicket(ticket, event, "", "", {}), purchase.create_time, _NO_SECRETS, show_payment=True)
            for ticket in sale.tickets
        ]
        response = pb.PurchaseTicketsResponse(purchase=purchase_message(caller, purchase, tickets))
        self._responses[kind] = event, response
        return response
