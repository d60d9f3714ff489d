"""Parsing of the requests of TicketService."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from ticket_service.convert.addresses import read_email, read_wanted_email
from ticket_service.convert.cancellations import CANCELLATION_STATUSES
from ticket_service.convert.enums import TICKET_STATUSES
from ticket_service.convert.money import read_price
from ticket_service.domain.codes import read_code
from ticket_service.domain.drawings import RenderOptions
from ticket_service.domain.page_design import Paper
from ticket_service.domain.queries import CancellationQuery, TicketQuery
from ticket_service.domain.reissues import ReissueRequest
from ticket_service.domain.tickets import TicketFormat
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.failures import FORBIDDEN, Failure
from ticketing.chassis.paging import page_size
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb


class TicketView(StrEnum):
    """The parts of a ticket that a response contains."""

    BASIC = "BASIC"
    FULL = "FULL"


# A shorter text describes too many holders.
MIN_SEARCH: Final = 3
LIST: Final = "/ticketing.tickets.v1.TicketService/ListTickets"
CANCEL: Final = "/ticketing.tickets.v1.TicketService/CancelTicket"
TICKET_VIEWS: Final = {view: ticket_pb2.TicketView.Value(f"TICKET_VIEW_{view}") for view in TicketView}
PAPERS: Final = {paper: pb.Paper.Value(f"PAPER_{paper}") for paper in Paper}
TICKET_FORMATS: Final = {kind: pb.TicketFormat.Value(f"TICKET_FORMAT_{kind}") for kind in TicketFormat}


@dataclass(frozen=True, slots=True)
class TicketLookup:
    """The id of a ticket or, where that is None, its code."""

    ticket_id: UUID | None
    code: str
    view: TicketView


def read_get(request: pb.GetTicketRequest) -> TicketLookup:
    """Read a GetTicketRequest."""
    fields = Fields(request)
    view = fields.enum("view", TICKET_VIEWS, TicketView.BASIC)
    ticket_id, code = None, ""
    if request.WhichOneof("ticket") == "code":
        typed = fields.text("code", request.code.strip().upper())
        code = read_code(typed) or typed
    else:
        ticket_id = fields.uuid("ticket_id")
    fields.check()
    return TicketLookup(ticket_id, code, view)


def read_list(request: pb.ListTicketsRequest, caller: Caller) -> tuple[TicketQuery, TicketView, int]:
    """Read the filter, the view and the page size of a ListTicketsRequest.

    Raises:
        Failure: INVALID_ARGUMENT, or FORBIDDEN for a user who searches by `holder`.
    """
    fields = Fields(request)
    query = TicketQuery(
        status=fields.optional_enum("status", TICKET_STATUSES),
        event_id=fields.optional_uuid("event_id"),
        user_id=fields.text("user_id"),
        email=read_wanted_email(fields),
        holder=fields.text("holder"),
    )
    if 0 < len(query.holder) < MIN_SEARCH:
        fields.violate("holder", f"is shorter than {MIN_SEARCH} characters")
    if query.holder and not request.event_id:
        fields.violate("event_id", "is required with holder")
    view = fields.enum("view", TICKET_VIEWS, TicketView.BASIC)
    fields.check()
    if query.holder and not caller.is_any(Role.SERVICE, Role.ORGANIZER, Role.OPERATOR):
        role = ",".join(sorted(caller.roles))
        raise Failure(FORBIDDEN, "users do not search for holders", method=LIST, role=role)
    return query, view, page_size(request.page_size)


def read_render(request: pb.RenderTicketRequest) -> tuple[UUID, RenderOptions]:
    """Read a RenderTicketRequest."""
    fields = Fields(request)
    ticket_id = fields.uuid("ticket_id")
    ticket_format = fields.enum("format", TICKET_FORMATS, TicketFormat.PNG)
    if request.whole_purchase and ticket_format is not TicketFormat.PDF:
        fields.violate("whole_purchase", "is for the format PDF only")
    paper = fields.optional_enum("paper", PAPERS)
    fields.check()
    return ticket_id, RenderOptions(ticket_format, paper, request.whole_purchase)


def read_cancel(request: pb.CancelTicketRequest, caller: Caller) -> tuple[UUID, str, tuple[str, int] | None]:
    """Read the ticket, the reason and the amount that an organizer or an operator refunds, or None.

    Raises:
        Failure: INVALID_ARGUMENT, or FORBIDDEN for the amount of another caller.
    """
    fields = Fields(request)
    ticket_id, reason = fields.uuid("ticket_id"), fields.text("reason")
    wanted = None
    if request.HasField("refund_amount"):
        wanted = read_price(fields, "refund_amount", request.refund_amount)
    fields.check()
    if wanted is not None and not caller.is_any(Role.SERVICE, Role.ORGANIZER, Role.OPERATOR):
        role = ",".join(sorted(caller.roles))
        raise Failure(FORBIDDEN, "only services, organizers and operators set the refund", method=CANCEL, role=role)
    return ticket_id, reason, wanted


def read_list_cancellations(request: pb.ListCancellationsRequest) -> tuple[CancellationQuery, int]:
    """Read the filter and the page size of a ListCancellationsRequest."""
    fields = Fields(request)
    query = CancellationQuery(
        status=fields.optional_enum("status", CANCELLATION_STATUSES),
        event_id=fields.optional_uuid("event_id"),
        user_id=fields.text("user_id"),
    )
    fields.check()
    return query, page_size(request.page_size)


def read_reissue(request: pb.ReissueTicketRequest, caller: Caller) -> ReissueRequest:
    """Read a ReissueTicketRequest."""
    fields = Fields(request)
    reissue = ReissueRequest(caller.subject, fields.uuid("request_id"), fields.uuid("ticket_id"))
    fields.check()
    return reissue


def read_transfer(request: pb.TransferTicketRequest, caller: Caller, *, smtputf8: bool) -> ReissueRequest:
    """Read a TransferTicketRequest; `smtputf8` as for `read_email`."""
    fields = Fields(request)
    request_id, ticket_id = fields.uuid("request_id"), fields.uuid("ticket_id")
    transfer = ReissueRequest(
        caller.subject, request_id, ticket_id, fields.text("user_id"), read_email(fields, smtputf8=smtputf8)
    )
    fields.check()
    return transfer
