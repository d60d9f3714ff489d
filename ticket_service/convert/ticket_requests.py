"""TicketService's requests, read."""

from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

from ticket_service.convert.cancellations import CANCELLATION_STATUSES
from ticket_service.convert.enums import TICKET_STATUSES, read_enum
from ticket_service.convert.purchases import read_email
from ticket_service.domain.reissues import ReissueRequest
from ticket_service.domain.tickets import TicketFormat
from ticket_service.use_cases.cancellations import CancellationQuery
from ticket_service.use_cases.tickets import TicketQuery
from ticketing.chassis.authentication import Caller
from ticketing.chassis.failures import invalid
from ticketing.chassis.paging import page_size
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import ticket_pb2, ticket_service_pb2

MAX_CODE: Final = 64
MAX_USER_ID: Final = 255
MAX_REASON: Final = 500
MAX_REFUND_ID: Final = 255


class View(Enum):
    """How much of a ticket is asked for."""

    BASIC = ticket_pb2.TICKET_VIEW_BASIC
    FULL = ticket_pb2.TICKET_VIEW_FULL


_VIEWS: Final = {view: view.value for view in View}
_FORMATS: Final = {one: ticket_service_pb2.TicketFormat.Value(f"TICKET_FORMAT_{one}") for one in TicketFormat}


@dataclass(frozen=True, slots=True)
class ReadTicket:
    """Which ticket is asked for: by id or, where that is None, by code."""

    ticket_id: UUID | None
    code: str
    view: View


@dataclass(frozen=True, slots=True)
class ReadRefund:
    """What was refunded: a cancellation or, where that is None, a purchase."""

    cancellation_id: UUID | None
    purchase_id: UUID | None
    refund_id: str


def read_get(request: ticket_service_pb2.GetTicketRequest) -> ReadTicket:
    """Read which ticket is asked for."""
    fields = Fields()
    view = read_enum(fields, "view", request.view, _VIEWS, View.BASIC)
    ticket_id, code = None, ""
    if request.WhichOneof("ticket") == "code":
        # As people type it.
        code = fields.text("code", request.code.strip().upper(), max_length=MAX_CODE, min_length=1)
    else:
        ticket_id = fields.uuid("ticket_id", request.ticket_id)
    fields.check()
    return ReadTicket(ticket_id, code, view)


def read_list(request: ticket_service_pb2.ListTicketsRequest) -> tuple[TicketQuery, View, int]:
    """Read which tickets are listed, how much of each, and how many."""
    fields = Fields()
    query = TicketQuery(
        status=read_enum(fields, "status", request.status, TICKET_STATUSES) if request.status else None,
        event_id=fields.optional_uuid("event_id", request.event_id),
        user_id=fields.text("user_id", request.user_id, max_length=MAX_USER_ID),
    )
    view = read_enum(fields, "view", request.view, _VIEWS, View.BASIC)
    fields.check()
    return query, view, page_size(request.page_size)


def read_render(request: ticket_service_pb2.RenderTicketRequest) -> tuple[UUID, TicketFormat]:
    """Read which ticket is drawn, and how."""
    fields = Fields()
    ticket_id = fields.uuid("ticket_id", request.ticket_id)
    ticket_format = read_enum(fields, "format", request.format, _FORMATS, TicketFormat.PNG)
    fields.check()
    return ticket_id, ticket_format


def read_cancel(request: ticket_service_pb2.CancelTicketRequest) -> tuple[UUID, str]:
    """Read which ticket is given back, and why."""
    fields = Fields()
    ticket_id = fields.uuid("ticket_id", request.ticket_id)
    reason = fields.text("reason", request.reason, max_length=MAX_REASON)
    fields.check()
    return ticket_id, reason


def read_cancellation_id(
    request: ticket_service_pb2.GetCancellationRequest | ticket_service_pb2.RetryRefundRequest,
) -> UUID:
    """Read which cancellation is asked for."""
    fields = Fields()
    cancellation_id = fields.uuid("cancellation_id", request.cancellation_id)
    fields.check()
    return cancellation_id


def read_list_cancellations(request: ticket_service_pb2.ListCancellationsRequest) -> tuple[CancellationQuery, int]:
    """Read which cancellations are listed, and how many."""
    fields = Fields()
    query = CancellationQuery(
        status=read_enum(fields, "status", request.status, CANCELLATION_STATUSES) if request.status else None,
        event_id=fields.optional_uuid("event_id", request.event_id),
        user_id=fields.text("user_id", request.user_id, max_length=MAX_USER_ID),
    )
    fields.check()
    return query, page_size(request.page_size)


def read_confirm_refund(request: ticket_service_pb2.ConfirmRefundRequest) -> ReadRefund:
    """Read what was refunded."""
    fields = Fields()
    cancellation_id = purchase_id = None
    if request.WhichOneof("refunded") == "purchase_id":
        purchase_id = fields.uuid("purchase_id", request.purchase_id)
    else:
        cancellation_id = fields.uuid("cancellation_id", request.cancellation_id)
    refund_id = fields.text("refund_id", request.refund_id, max_length=MAX_REFUND_ID, min_length=1)
    fields.check()
    return ReadRefund(cancellation_id, purchase_id, refund_id)


def read_reissue(request: ticket_service_pb2.ReissueTicketRequest, caller: Caller) -> ReissueRequest:
    """Read which ticket gets a new code."""
    fields = Fields()
    wanted = ReissueRequest(
        caller.subject,
        fields.uuid("request_id", request.request_id),
        fields.uuid("ticket_id", request.ticket_id),
    )
    fields.check()
    return wanted


def read_transfer(request: ticket_service_pb2.TransferTicketRequest, caller: Caller) -> ReissueRequest:
    """Read which ticket becomes whose."""
    fields = Fields()
    wanted = ReissueRequest(
        caller.subject,
        fields.uuid("request_id", request.request_id),
        fields.uuid("ticket_id", request.ticket_id),
        fields.text("user_id", request.user_id, min_length=1, max_length=MAX_USER_ID),
        read_email(fields, request.email),
    )
    fields.check()
    return wanted


def read_set_blocked(request: ticket_service_pb2.SetTicketBlockedRequest) -> UUID:
    """Read which ticket is withheld, or let go again."""
    fields = Fields()
    ticket_id = fields.uuid("ticket_id", request.ticket_id)
    fields.check()
    return ticket_id


def read_before(position: list[str] | None) -> UUID | None:
    """Read where a page begins: before this id, for the newest come first."""
    if position is None:
        return None
    try:
        return UUID(position[0])
    except ValueError as error:
        raise invalid("page_token", "is not a token of this list") from error
