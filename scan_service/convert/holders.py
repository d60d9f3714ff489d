"""Conversion of requests for names: of gates to this service, and of this service to the ticket service."""

from uuid import UUID

from scan_service.convert.callers import check_device_event, own_organizer
from scan_service.domain.holders import HolderRequest
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb


def read_holder_request(request: pb.GetHolderRequest, caller: Caller) -> HolderRequest:
    """Read a GetHolderRequest.

    Raises:
        Failure: INVALID_ARGUMENT, naming every field at fault; FORBIDDEN.
    """
    fields = Fields(request)
    event_id, scan_id = fields.uuid("event_id"), fields.uuid("scan_id")
    fields.check()
    check_device_event(caller, event_id)
    device_id, user_id = (caller.subject, "") if caller.is_any(Role.DEVICE) else ("", caller.subject)
    return HolderRequest(event_id, scan_id, device_id, user_id, own_organizer(caller))


def holder_response(name: str | None) -> pb.GetHolderResponse:
    """Build the answer to a gate; None: the event does not allow names."""
    return pb.GetHolderResponse(allowed=name is not None, name=name or "")


def name_request(event_id: UUID, ticket_id: UUID) -> feed_pb.GetTicketHolderRequest:
    """Build the request to the ticket service."""
    return feed_pb.GetTicketHolderRequest(event_id=str(event_id), ticket_id=str(ticket_id))


def name_of(response: feed_pb.GetTicketHolderResponse) -> str | None:
    """Read the answer of the ticket service; None: the event does not allow names."""
    return response.name if response.allowed else None
