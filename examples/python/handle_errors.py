"""Read the reason of a failure, and decide what to do; the client has repeated the call already where that helps."""

import math
import os

from ticketing.client import (
    DeadlineExceededError,
    InvalidArgumentError,
    Reason,
    TicketingError,
    UnavailableError,
    connect,
)
from ticketing.tickets.v1 import event_pb2, purchase_service_pb2
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceStub


def advice(error: TicketingError) -> str:
    """Return what the shop does about a failure of PurchaseTickets."""
    if isinstance(error, InvalidArgumentError):
        return "show the fields: " + ", ".join(f"{field} {text}" for field, text in error.violations)
    if error.reason is Reason.SOLD_OUT:
        return f"offer {error.metadata['available']} tickets"
    if error.retry_after is not None:
        return f"show a waiting page for {math.ceil(error.retry_after.total_seconds())} s, then send the same message again"
    if isinstance(error, UnavailableError | DeadlineExceededError):
        return "send the same message again, because the effect of the first one is unknown"
    return f"tell support the id {error.x_request_id}"


with connect(os.environ["TICKETS_ADDRESS"], os.environ["USER_TOKEN"], plain_text=True) as channel:
    order = purchase_service_pb2.PurchaseTicketsRequest(event_id=os.environ["EVENT_ID"])
    order.items.add(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=int(os.environ["QUANTITY"]))
    try:
        print(PurchaseServiceStub(channel).PurchaseTickets(order).purchase.purchase_id)
    except TicketingError as error:
        print(error.reason_name or error.code().name, "->", advice(error))
