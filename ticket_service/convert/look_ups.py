"""Parsing of FindTicketsRequest, and conversion of its answer."""

from typing import Final

from ticket_service.domain.look_ups import FoundTickets, LookUp, describe_holder
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.parsing import Fields
from ticketing.options.v1 import options_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb

_ROLES: Final = {role: options_pb2.Role.Value(f"ROLE_{role.upper()}") for role in Role}


def read_find(request: pb.FindTicketsRequest) -> LookUp:
    """Read a FindTicketsRequest."""
    fields = Fields(request)
    look_up = LookUp(
        event_id=fields.uuid("event_id"),
        text=fields.text("query"),
        caller=Caller(fields.text("caller"), fields.enums("roles", _ROLES)),
        location=fields.text("location"),
    )
    fields.check()
    return look_up


def find_response(found: FoundTickets | None) -> pb.FindTicketsResponse:
    """Build the response; None: the event allows no look-ups."""
    if found is None:
        return pb.FindTicketsResponse(allowed=False)
    return pb.FindTicketsResponse(
        allowed=True,
        tickets=[
            pb.HeldTicket(ticket_id=str(ticket.ticket_id), issue=ticket.issue, holder=describe_holder(ticket))
            for ticket in found.tickets
        ],
        more=found.more,
    )
