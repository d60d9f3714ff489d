"""Conversion of look-ups: of gates to this service, and of this service to the ticket service."""

from typing import Final
from uuid import UUID

from scan_service.convert.attempts import read_gate
from scan_service.convert.callers import check_device_event, own_organizer
from scan_service.convert.changes import ticket_message
from scan_service.domain.look_ups import FoundTickets, HeldTicket, HeldTickets, LookUp
from ticketing.chassis.callers import Caller
from ticketing.chassis.parsing import Fields
from ticketing.options.v1 import options_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb

MIN_CHARACTERS: Final = 3


def read_look_up(request: pb.LookUpTicketsRequest, caller: Caller) -> LookUp:
    """Read a LookUpTicketsRequest.

    Raises:
        Failure: INVALID_ARGUMENT, naming every field at fault; FORBIDDEN.
    """
    fields = Fields(request)
    gate = read_gate(fields.inside("gate", request.gate))
    text = " ".join(fields.text("query").split())
    if len(text) < MIN_CHARACTERS and not fields.at_fault("query"):
        fields.violate("query", f"has fewer than {MIN_CHARACTERS} characters besides blanks")
    fields.check()
    check_device_event(caller, gate.event_id)
    return LookUp(gate, text, caller.subject, frozenset(caller.roles), own_organizer(caller))


def look_up_response(found: FoundTickets) -> pb.LookUpTicketsResponse:
    """Build the answer to a gate."""
    return pb.LookUpTicketsResponse(
        tickets=[
            pb.FoundTicket(admission=ticket_message(one.ticket), holder=one.holder, look_up_pass=one.look_up_pass)
            for one in found.tickets
        ],
        more=found.more,
    )


def find_request(look_up: LookUp) -> feed_pb.FindTicketsRequest:
    """Build the request to the ticket service."""
    return feed_pb.FindTicketsRequest(
        event_id=str(look_up.gate.event_id),
        query=look_up.text,
        caller=look_up.caller,
        roles=[options_pb2.Role.Value(f"ROLE_{role.upper()}") for role in sorted(look_up.roles)],
        location=look_up.gate.location,
    )


def held_tickets(response: feed_pb.FindTicketsResponse) -> HeldTickets | None:
    """Read the answer of the ticket service; None: the event allows no look-ups."""
    if not response.allowed:
        return None
    tickets = [HeldTicket(UUID(ticket.ticket_id), ticket.issue, ticket.holder) for ticket in response.tickets]
    return HeldTickets(tickets, response.more)
