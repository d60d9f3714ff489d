"""The servicer of TicketService."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc.aio

from ticket_service.convert import ticket_requests as requests
from ticket_service.convert.cancellations import cancellation_message
from ticket_service.convert.ticket_requests import TicketView
from ticket_service.convert.tickets import TicketMessages
from ticket_service.domain.tickets import SoldTicket
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.holds import Holds
from ticket_service.use_cases.refunds import Refunds
from ticket_service.use_cases.reissues import Reissues
from ticket_service.use_cases.rendering import qr_code_url, render
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis.authentication import Caller
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import page_position, page_token
from ticketing.chassis.parsing import read_uuid
from ticketing.tickets.v1 import ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class TicketChanges:
    """The use cases that change tickets and their payments."""

    cancellations: Cancellations
    reissues: Reissues
    holds: Holds
    refunds: Refunds


class TicketServicer(TicketServiceServicer):
    """Serve reads, drawings and changes of tickets.

    Args:
        tickets: reads tickets.
        changes: changes tickets.
        messages: builds their messages.
    """

    def __init__(self, tickets: Tickets, changes: TicketChanges, messages: TicketMessages) -> None:
        self._tickets = tickets
        self._cancellations = changes.cancellations
        self._reissues = changes.reissues
        self._holds = changes.holds
        self._refunds = changes.refunds
        self._messages = messages

    async def GetTicket(  # noqa: N802 - the contract's name
        self, request: pb.GetTicketRequest, _context: Context
    ) -> pb.GetTicketResponse:
        """Read one ticket."""
        caller = current_caller()
        lookup = requests.read_get(request)
        if lookup.ticket_id is not None:
            sold = await self._tickets.get(caller, lookup.ticket_id)
        else:
            digest = self._messages.codes.digest(lookup.code)
            sold = await self._tickets.get_by_code(caller, lookup.code, digest)
        [ticket] = await self._views(caller, [sold], lookup.view)
        return pb.GetTicketResponse(ticket=ticket)

    async def ListTickets(  # noqa: N802 - as above
        self, request: pb.ListTicketsRequest, _context: Context
    ) -> pb.ListTicketsResponse:
        """List tickets, newest first."""
        caller = current_caller()
        query, view, size = requests.read_list(request)
        bound_to = ["tickets", caller.subject, query]
        before = requests.read_before(page_position(request.page_token, bound_to, parts=1))
        found = await self._tickets.list(caller, query, before, size + 1)
        response = pb.ListTicketsResponse(tickets=await self._views(caller, found[:size], view))
        if len(found) > size:
            response.next_page_token = _token(found[size - 1].ticket.ticket_id, bound_to)
        return response

    async def RenderTicket(  # noqa: N802 - as above
        self, request: pb.RenderTicketRequest, _context: Context
    ) -> pb.RenderTicketResponse:
        """Draw a ticket."""
        ticket_id, ticket_format = requests.read_render(request)
        sold = await self._tickets.get(current_caller(), ticket_id)
        rendered = await render(sold, ticket_format, self._messages.secrets(sold), self._messages.clock())
        return pb.RenderTicketResponse(
            media_type=rendered.media_type, file_name=rendered.file_name, content=rendered.content
        )

    async def CancelTicket(  # noqa: N802 - as above
        self, request: pb.CancelTicketRequest, _context: Context
    ) -> pb.CancelTicketResponse:
        """Cancel a ticket."""
        caller = current_caller()
        ticket_id, reason = requests.read_cancel(request)
        cancellation = await self._cancellations.cancel(caller, ticket_id, reason)
        sold = await self._tickets.get(caller, ticket_id)
        return pb.CancelTicketResponse(
            cancellation=cancellation_message(cancellation), ticket=self._messages.basic(caller, sold)
        )

    async def GetCancellation(  # noqa: N802 - as above
        self, request: pb.GetCancellationRequest, _context: Context
    ) -> pb.GetCancellationResponse:
        """Read one cancellation."""
        cancellation = await self._cancellations.get(current_caller(), read_uuid(request, "cancellation_id"))
        return pb.GetCancellationResponse(cancellation=cancellation_message(cancellation))

    async def ListCancellations(  # noqa: N802 - as above
        self, request: pb.ListCancellationsRequest, _context: Context
    ) -> pb.ListCancellationsResponse:
        """List cancellations, newest first."""
        caller = current_caller()
        query, size = requests.read_list_cancellations(request)
        bound_to = ["cancellations", caller.subject, query]
        before = requests.read_before(page_position(request.page_token, bound_to, parts=1))
        found = await self._cancellations.list(caller, query, before, size + 1)
        response = pb.ListCancellationsResponse(cancellations=[cancellation_message(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = _token(found[size - 1].cancellation_id, bound_to)
        return response

    async def RetryRefund(  # noqa: N802 - as above
        self, request: pb.RetryRefundRequest, _context: Context
    ) -> pb.RetryRefundResponse:
        """Request a refund again that a provider refused."""
        cancellation = await self._refunds.retry(current_caller(), read_uuid(request, "cancellation_id"))
        return pb.RetryRefundResponse(cancellation=cancellation_message(cancellation))

    async def ConfirmRefund(  # noqa: N802 - as above
        self, request: pb.ConfirmRefundRequest, _context: Context
    ) -> pb.ConfirmRefundResponse:
        """Record a refund that the caller's payment system made."""
        caller = current_caller()
        refund = requests.read_confirm_refund(request)
        if refund.cancellation_id is not None:
            await self._cancellations.confirm_refund(caller, refund.cancellation_id, refund.refund_id)
        elif refund.purchase_id is not None:
            await self._holds.confirm_refund(caller, refund.purchase_id, refund.refund_id)
        return pb.ConfirmRefundResponse()

    async def ReissueTicket(  # noqa: N802 - as above
        self, request: pb.ReissueTicketRequest, _context: Context
    ) -> pb.ReissueTicketResponse:
        """Give a ticket a new code and token."""
        caller = current_caller()
        sold = await self._reissues.reissue(caller, requests.read_reissue(request, caller))
        return pb.ReissueTicketResponse(ticket=self._messages.basic(caller, sold))

    async def TransferTicket(  # noqa: N802 - as above
        self, request: pb.TransferTicketRequest, _context: Context
    ) -> pb.TransferTicketResponse:
        """Give a ticket to another holder."""
        caller = current_caller()
        sold = await self._reissues.reissue(caller, requests.read_transfer(request, caller))
        return pb.TransferTicketResponse(ticket=self._messages.basic(caller, sold))

    async def SetTicketBlocked(  # noqa: N802 - as above
        self, request: pb.SetTicketBlockedRequest, _context: Context
    ) -> pb.SetTicketBlockedResponse:
        """Block or unblock a ticket."""
        caller = current_caller()
        ticket_id = read_uuid(request, "ticket_id")
        sold = await self._reissues.set_blocked(caller, ticket_id, blocked=request.blocked)
        return pb.SetTicketBlockedResponse(ticket=self._messages.basic(caller, sold))

    async def _views(self, caller: Caller, found: Sequence[SoldTicket], view: TicketView) -> list[ticket_pb2.Ticket]:
        if view is TicketView.BASIC:
            return [self._messages.basic(caller, sold) for sold in found]

        def draw() -> list[ticket_pb2.Ticket]:
            return [self._messages.full(caller, sold, qr_code_url) for sold in found]

        # A ticket takes milliseconds, which would delay sales in the event loop.
        return await asyncio.to_thread(draw)


def _token(last_id: UUID, bound_to: Sequence[object]) -> str:
    return page_token([str(last_id)], bound_to)
