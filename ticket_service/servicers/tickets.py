"""The servicer of TicketService."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ticket_service.convert import refunds
from ticket_service.convert import ticket_requests as requests
from ticket_service.convert.cancellations import cancellation_message
from ticket_service.convert.ticket_requests import TicketView
from ticket_service.convert.tickets import TicketMessages
from ticket_service.domain.drawings import PrintedTicket
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import SoldTicket, TicketFormat
from ticket_service.use_cases.cancellations import Cancellations
from ticket_service.use_cases.refund_confirmations import RefundConfirmations
from ticket_service.use_cases.refunds import Refunds
from ticket_service.use_cases.reissues import Reissues
from ticket_service.use_cases.rendering import Rendering
from ticket_service.use_cases.ticket_refunds import TicketRefunds
from ticket_service.use_cases.tickets import Tickets
from ticketing.chassis.callers import Caller
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import id_position, page_token, time_position
from ticketing.chassis.parsing import read_uuid
from ticketing.tickets.v1 import ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceServicer

TICKETS_AT_A_TIME: Final = 10


@dataclass(frozen=True, slots=True)
class TicketChanges:
    """The use cases that change tickets and their payments."""

    cancellations: Cancellations
    reissues: Reissues
    refunds: Refunds
    ticket_refunds: TicketRefunds
    confirmations: RefundConfirmations


class TicketServicer(TicketServiceServicer):
    """Serves TicketService."""

    def __init__(
        self,
        tickets: Tickets,
        rendering: Rendering,
        changes: TicketChanges,
        messages: TicketMessages,
        *,
        smtputf8: bool,
    ) -> None:
        self._smtputf8 = smtputf8
        self._tickets = tickets
        self._rendering = rendering
        self._changes = changes
        self._messages = messages

    async def GetTicket(self, request: pb.GetTicketRequest, _context: Any) -> pb.GetTicketResponse:  # noqa: N802 - the contract's name
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

    async def ListTickets(self, request: pb.ListTicketsRequest, _context: Any) -> pb.ListTicketsResponse:  # noqa: N802 - the contract's name
        """List tickets, newest first."""
        caller = current_caller()
        query, view, size = requests.read_list(request, caller)
        bound_to = ["tickets", caller.subject, query]
        before = id_position(request.page_token, bound_to)
        found = await self._tickets.list(caller, query, before, size + 1)
        response = pb.ListTicketsResponse(tickets=await self._views(caller, found[:size], view))
        if len(found) > size:
            response.next_page_token = page_token([str(found[size - 1].ticket.ticket_id)], bound_to)
        return response

    async def RenderTicket(self, request: pb.RenderTicketRequest, _context: Any) -> pb.RenderTicketResponse:  # noqa: N802 - the contract's name
        """Draw a ticket."""
        caller = current_caller()
        ticket_id, options = requests.read_render(request)
        sold = await self._tickets.get(caller, ticket_id)
        now = self._messages.clock()
        if options.format is TicketFormat.ICS:
            ticket = PrintedTicket(sold, self._messages.secrets(sold))
            entry = await self._tickets.calendar_entry(sold)
            rendered = await self._rendering.render_entry(caller, ticket, entry, self._messages.secrets, now)
        else:
            all_sold = await self._tickets.of_same_purchase(caller, sold) if options.whole_purchase else [sold]
            tickets = [PrintedTicket(one, self._messages.secrets(one)) for one in all_sold]
            rendered = await self._rendering.render(caller, tickets, options, now)
        return pb.RenderTicketResponse(
            media_type=rendered.media_type, file_name=rendered.file_name, content=rendered.content
        )

    async def CancelTicket(self, request: pb.CancelTicketRequest, _context: Any) -> pb.CancelTicketResponse:  # noqa: N802 - the contract's name
        """Cancel a ticket."""
        caller = current_caller()
        ticket_id, reason, amount = requests.read_cancel(request, caller)
        cancellation = await self._changes.cancellations.cancel(caller, ticket_id, reason, amount)
        sold = await self._tickets.get(caller, ticket_id)
        return pb.CancelTicketResponse(
            cancellation=cancellation_message(cancellation), ticket=self._messages.basic(caller, sold)
        )

    async def GetCancellation(self, request: pb.GetCancellationRequest, _context: Any) -> pb.GetCancellationResponse:  # noqa: N802 - the contract's name
        """Read one cancellation."""
        cancellation = await self._changes.cancellations.get(current_caller(), read_uuid(request, "cancellation_id"))
        return pb.GetCancellationResponse(cancellation=cancellation_message(cancellation))

    async def ListCancellations(  # noqa: N802 - the contract's name
        self, request: pb.ListCancellationsRequest, _context: Any
    ) -> pb.ListCancellationsResponse:
        """List cancellations, newest first."""
        caller = current_caller()
        query, size = requests.read_list_cancellations(request)
        bound_to = ["cancellations", caller.subject, query]
        before = id_position(request.page_token, bound_to)
        found = await self._changes.cancellations.list(caller, query, before, size + 1)
        response = pb.ListCancellationsResponse(cancellations=[cancellation_message(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = page_token([str(found[size - 1].cancellation_id)], bound_to)
        return response

    async def RetryRefund(self, request: pb.RetryRefundRequest, _context: Any) -> pb.RetryRefundResponse:  # noqa: N802 - the contract's name
        """Request a refund again that a provider refused."""
        cancellation = await self._changes.refunds.retry(current_caller(), read_uuid(request, "cancellation_id"))
        return pb.RetryRefundResponse(cancellation=cancellation_message(cancellation))

    async def ConfirmRefund(self, request: pb.ConfirmRefundRequest, _context: Any) -> pb.ConfirmRefundResponse:  # noqa: N802 - the contract's name
        """Record a refund that was made elsewhere."""
        caller, confirm = current_caller(), self._changes.confirmations
        refund = refunds.read_confirm_refund(request)
        if refund.cancellation_id is not None:
            await confirm.of_cancellation(caller, refund.cancellation_id, refund.made)
        elif refund.purchase_id is not None:
            await confirm.of_payment(caller, refund.purchase_id, refund.made)
        elif refund.ticket_refund_id is not None:
            await confirm.of_ticket(caller, refund.ticket_refund_id, refund.made)
        return pb.ConfirmRefundResponse()

    async def RefundTicket(self, request: pb.RefundTicketRequest, _context: Any) -> pb.RefundTicketResponse:  # noqa: N802 - the contract's name
        """Refund a part of a ticket's price."""
        caller = current_caller()
        refund = await self._changes.ticket_refunds.refund(caller, refunds.read_refund(request, caller))
        return pb.RefundTicketResponse(refund=refunds.ticket_refund_message(refund))

    async def ListOwedRefunds(self, request: pb.ListOwedRefundsRequest, _context: Any) -> pb.ListOwedRefundsResponse:  # noqa: N802 - the contract's name
        """List refunds that are owed, oldest first."""
        caller = current_caller()
        query, size = refunds.read_list_owed(request)
        bound_to = ["owed refunds", caller.subject, query]
        after = time_position(request.page_token, bound_to)
        found = await self._changes.ticket_refunds.list_owed(caller, query, after, size + 1)
        response = pb.ListOwedRefundsResponse(refunds=[refunds.owed_refund_message(one) for one in found[:size]])
        if len(found) > size:
            last = found[size - 1]
            response.next_page_token = page_token([last.since_time.isoformat(), str(last.owed_id)], bound_to)
        return response

    async def ReissueTicket(self, request: pb.ReissueTicketRequest, _context: Any) -> pb.ReissueTicketResponse:  # noqa: N802 - the contract's name
        """Give a ticket a new code and token."""
        caller = current_caller()
        sold = await self._changes.reissues.reissue(caller, requests.read_reissue(request, caller))
        return pb.ReissueTicketResponse(ticket=self._messages.basic(caller, sold))

    async def TransferTicket(self, request: pb.TransferTicketRequest, _context: Any) -> pb.TransferTicketResponse:  # noqa: N802 - the contract's name
        """Give a ticket to another holder."""
        caller = current_caller()
        transfer = requests.read_transfer(request, caller, smtputf8=self._smtputf8)
        sold = await self._changes.reissues.reissue(caller, transfer)
        return pb.TransferTicketResponse(ticket=self._messages.basic(caller, sold))

    async def SetTicketBlocked(self, request: pb.SetTicketBlockedRequest, _context: Any) -> pb.SetTicketBlockedResponse:  # noqa: N802 - the contract's name
        """Block or unblock a ticket."""
        caller = current_caller()
        ticket_id = read_uuid(request, "ticket_id")
        sold = await self._changes.reissues.set_blocked(caller, ticket_id, blocked=request.blocked)
        return pb.SetTicketBlockedResponse(ticket=self._messages.basic(caller, sold))

    async def _views(self, caller: Caller, found: Sequence[SoldTicket], view: TicketView) -> list[ticket_pb2.Ticket]:
        build = self._messages.basic if view is TicketView.BASIC else self._messages.full
        tickets = list[ticket_pb2.Ticket]()
        for sold in found:
            if tickets and len(tickets) % TICKETS_AT_A_TIME == 0:
                # A message takes 0.1 ms, mostly for its signature: a page of a hundred would delay all other calls.
                await asyncio.sleep(0)
            tickets.append(build(caller, sold))
        if view is TicketView.BASIC:
            return tickets
        # A caller who may not open a gate gets no token, and thus no picture of it.
        opened = [(ticket, sold) for ticket, sold in zip(tickets, found, strict=True) if ticket.token]
        printed = [PrintedTicket(sold, Secrets(ticket.code, ticket.token)) for ticket, sold in opened]
        urls = await self._rendering.qr_code_urls(caller, printed, self._messages.clock())
        for (ticket, _), url in zip(opened, urls, strict=True):
            ticket.qr_code_url = url
        return tickets
