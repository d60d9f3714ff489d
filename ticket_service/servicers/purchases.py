"""The servicer of PurchaseService."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from ticket_service.convert.disputes import dispute_message, outside_refund_message, read_dispute_query
from ticket_service.convert.new_purchases import NewPurchases
from ticket_service.convert.purchases import (
    purchase_message,
    read_confirmation,
    read_correction,
    read_order,
    read_query,
)
from ticket_service.convert.tickets import TicketMessages
from ticket_service.use_cases.contacts import Contacts
from ticket_service.use_cases.payments import Payments
from ticket_service.use_cases.purchases import Purchases
from ticket_service.use_cases.sales import IssuedSale, Sales
from ticketing.chassis.callers import Caller
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import id_position, page_size, page_token
from ticketing.chassis.parsing import read_uuid
from ticketing.tickets.v1 import purchase_pb2
from ticketing.tickets.v1 import purchase_service_pb2 as pb
from ticketing.tickets.v1.purchase_service_pb2_grpc import PurchaseServiceServicer


class PurchaseServicer(PurchaseServiceServicer):
    """Serves PurchaseService."""

    def __init__(  # noqa: PLR0913 - what the servicer serves, and a setting
        self,
        sales: Sales,
        payments: Payments,
        purchases: Purchases,
        contacts: Contacts,
        messages: TicketMessages,
        *,
        smtputf8: bool,
    ) -> None:
        self._smtputf8 = smtputf8
        self._sales = sales
        self._contacts = contacts
        self._payments = payments
        self._purchases = purchases
        self._messages = messages
        self._new = NewPurchases()

    async def PurchaseTickets(self, request: pb.PurchaseTicketsRequest, _context: Any) -> pb.PurchaseTicketsResponse:  # noqa: N802 - the contract's name
        """Sell tickets, and charge or hold those that are neither free nor paid."""
        caller = current_caller()
        order = read_order(request, caller, smtputf8=self._smtputf8)
        if order.payment_method is not None:
            order = replace(order, provider=self._payments.provider_for(order.payment_method))
        outcome = await self._sales.buy(order)
        if isinstance(outcome, IssuedSale):
            if outcome.sale.purchase.payment_method is None:
                return self._new.response(caller, outcome.sale, outcome.secrets)
            await self._payments.begin(outcome.sale.purchase)
            purchase = await self._read(caller, outcome.sale.purchase.purchase_id)
            return pb.PurchaseTicketsResponse(purchase=purchase)
        purchase = await self._read(caller, outcome.purchase_id)
        return pb.PurchaseTicketsResponse(purchase=purchase)

    async def ConfirmPurchase(self, request: pb.ConfirmPurchaseRequest, _context: Any) -> pb.ConfirmPurchaseResponse:  # noqa: N802 - the contract's name
        """Complete a purchase that is paid."""
        caller = current_caller()
        purchase_id, payment = read_confirmation(request, caller)
        await self._payments.confirm(caller, purchase_id, payment)
        return pb.ConfirmPurchaseResponse(purchase=await self._read(caller, purchase_id))

    async def ReleasePurchase(self, request: pb.ReleasePurchaseRequest, _context: Any) -> pb.ReleasePurchaseResponse:  # noqa: N802 - the contract's name
        """Release held places."""
        caller = current_caller()
        purchase_id = read_uuid(request, "purchase_id")
        await self._payments.release(caller, purchase_id)
        return pb.ReleasePurchaseResponse(purchase=await self._read(caller, purchase_id))

    async def CorrectEmail(self, request: pb.CorrectEmailRequest, _context: Any) -> pb.CorrectEmailResponse:  # noqa: N802 - the contract's name
        """Correct an address and send the mail again."""
        await self._contacts.correct(current_caller(), read_correction(request, smtputf8=self._smtputf8))
        return pb.CorrectEmailResponse()

    async def GetPurchase(self, request: pb.GetPurchaseRequest, _context: Any) -> pb.GetPurchaseResponse:  # noqa: N802 - the contract's name
        """Read one purchase with its tickets."""
        purchase_id = read_uuid(request, "purchase_id")
        return pb.GetPurchaseResponse(purchase=await self._read(current_caller(), purchase_id))

    async def ListPurchases(self, request: pb.ListPurchasesRequest, _context: Any) -> pb.ListPurchasesResponse:  # noqa: N802 - the contract's name
        """List purchases, newest first, without tickets."""
        caller = current_caller()
        query = read_query(request)
        bound_to = [caller.subject, query]
        size = page_size(request.page_size)
        before = id_position(request.page_token, bound_to)
        found = await self._purchases.list(caller, query, before, size + 1)
        response = pb.ListPurchasesResponse(purchases=[purchase_message(caller, one, ()) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = page_token([str(found[size - 1].purchase_id)], bound_to)
        return response

    async def ListDisputes(self, request: pb.ListDisputesRequest, _context: Any) -> pb.ListDisputesResponse:  # noqa: N802 - the contract's name
        """List disputes, newest first."""
        caller = current_caller()
        query = read_dispute_query(request)
        bound_to = [caller.subject, query]
        size = page_size(request.page_size)
        before = id_position(request.page_token, bound_to)
        found = await self._purchases.list_disputes(caller, query, before, size + 1)
        response = pb.ListDisputesResponse(disputes=[dispute_message(one) for one in found[:size]])
        if len(found) > size:
            response.next_page_token = page_token([str(found[size - 1].dispute_id)], bound_to)
        return response

    async def _read(self, caller: Caller, purchase_id: UUID) -> purchase_pb2.Purchase:
        read = await self._purchases.get(caller, purchase_id)
        message = purchase_message(caller, read.purchase, [self._messages.basic(caller, sold) for sold in read.tickets])
        message.disputes.extend(dispute_message(one) for one in read.disputes)
        message.outside_refunds.extend(outside_refund_message(one) for one in read.outside_refunds)
        return message
