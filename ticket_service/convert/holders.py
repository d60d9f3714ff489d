"""Parsing of GetTicketHolderRequest, and conversion of its answer."""

from typing import Final
from uuid import UUID

from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb

# A display has one line for a name; the contract states the bound.
MAX_NAME: Final = 60


def read_holder_request(request: pb.GetTicketHolderRequest) -> tuple[UUID, UUID]:
    """Read the event_id and the ticket_id of a GetTicketHolderRequest."""
    fields = Fields(request)
    event_id, ticket_id = fields.uuid("event_id"), fields.uuid("ticket_id")
    fields.check()
    return event_id, ticket_id


def holder_response(name: str | None) -> pb.GetTicketHolderResponse:
    """Build the response; None: the event does not allow names."""
    return pb.GetTicketHolderResponse(allowed=name is not None, name=(name or "")[:MAX_NAME])
