"""Refund a part of a ticket's price without a cancellation, and list the refunds that are owed."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.providers import RULES
from ticket_service.domain import ticket_refunds as domain
from ticket_service.domain.changes import ChangeKind, ticket_change
from ticket_service.domain.notifications import ticket_refund_requested
from ticket_service.domain.owed_refunds import OwedRefund, OwedRefundQuery
from ticket_service.domain.refund_orders import order_of_ticket
from ticket_service.domain.refusals import request_id_reused, ticket_not_found
from ticket_service.domain.ticket_refunds import PaidTicket, RefundRequest, TicketRefund
from ticket_service.store import changes, outbox, refund_orders
from ticket_service.store import ticket_refunds as store
from ticket_service.store.access import event_administered_by
from ticket_service.store.owed_refunds import list_owed
from ticket_service.store.requests import RequestKey, claim, find_first
from ticket_service.store.tickets import lock_ticket
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id

# The name is part of the fingerprint: another RPC with the same request_id is another request.
_REFUND: Final = "RefundTicket"


class TicketRefunds:
    """The use cases of refunds without a cancellation, and of the list of owed refunds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def refund(self, caller: Caller, request: RefundRequest) -> TicketRefund:
        """Refund a part of a ticket's price; a repeated request returns the refund of the first request.

        Raises:
            Failure: TICKET_NOT_FOUND, REFUND_OUT_OF_RANGE or REQUEST_ID_REUSED.
        """
        return await self._database.run(lambda connection: self._request(connection, caller, request))

    async def list_owed(
        self, caller: Caller, query: OwedRefundQuery, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[OwedRefund]:
        """Read up to `limit` refunds that are owed for the events that `caller` administers, oldest first."""
        return await self._database.read(lambda connection: list_owed(connection, caller, query, after, limit))

    def _request(self, connection: Connection, caller: Caller, request: RefundRequest) -> TicketRefund:
        key = RequestKey(request.caller, request.request_id, _fingerprint(request))
        first = find_first(connection, key)
        if first is None:
            # The lock of the ticket orders the refunds and cancellations of the ticket, so their sum stays bounded.
            sold = lock_ticket(connection, request.ticket_id, event_administered_by(caller))
            if sold is None:
                raise ticket_not_found(request.ticket_id)
            event_id, now = sold.ticket.event_id, self._clock()
            cancelled = store.cancelled_amount(connection, event_id, request.ticket_id)
            payer = store.find_payer(connection, event_id, sold.ticket.purchase_id)
            rules = None if payer is None else RULES.get(payer.provider)
            refund = domain.request(PaidTicket(sold, payer, cancelled), request, new_id(), now, rules)
            first = claim(connection, key, event_id, refund.ticket_refund_id, now)
            if first is None:
                store.insert(connection, refund)
                order = order_of_ticket(refund)
                if order is not None:
                    refund_orders.insert(connection, order)
                facts = {
                    "ticket_refund_id": str(refund.ticket_refund_id),
                    "currency_code": refund.currency,
                    "minor_units": refund.amount,
                }
                change = ticket_change(ChangeKind.TICKET_REFUND_REQUESTED, sold.ticket, **facts)
                changes.record(connection, caller, change, now)
                outbox.write(connection, ticket_refund_requested(refund), now)
                return refund
        if first.fingerprint != key.fingerprint:
            raise request_id_reused(request.request_id)
        return store.find(connection, first.event_id, first.result_id)


def _fingerprint(request: RefundRequest) -> bytes:
    currency, amount = request.amount
    parts = (_REFUND, request.ticket_id.hex, currency, str(amount), request.reason)
    # No part contains a NUL, so no two contents give the same text.
    return hashlib.sha256("\0".join(parts).encode()).digest()
