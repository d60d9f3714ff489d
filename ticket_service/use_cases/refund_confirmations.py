"""Record refunds that were made elsewhere: by the caller's own payment system, or by hand after a provider refused.

Only a provider itself confirms a refund that this service has ordered from it. A refund that the provider refused may
be paid by hand: its order then ends, so that the provider never makes the refund too.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import cancellations, ticket_refunds
from ticket_service.domain import refund_orders as domain
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.holds import Payment
from ticket_service.domain.ledger import EntryKind, payment_refund_entry, refund_entry, ticket_refund_entry
from ticket_service.domain.notifications import refund_ended, ticket_refund_made
from ticket_service.domain.purchases import EXTERNAL, PurchaseStatus
from ticket_service.domain.refund_orders import Confirmation, RefundOrder, RefundOrderStatus
from ticket_service.domain.refusals import (
    Instead,
    cancellation_not_found,
    refund_not_confirmable,
    ticket_refund_not_found,
)
from ticket_service.store import changes, holds, ledger, outbox, refund_orders
from ticket_service.store import ticket_refunds as refund_store
from ticket_service.store.access import event_administered_by
from ticket_service.store.cancellations import lock_cancellation, update_cancellations
from ticket_service.use_cases.holds import lock_purchase, record_refund
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class RefundConfirmations:
    """The use cases of ConfirmRefund, for a service or the event's organizer; a repetition changes nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_cancellation(self, caller: Caller, cancellation_id: UUID, made: Confirmation) -> None:
        """Record the refund of a cancellation; raise CANCELLATION_NOT_FOUND or ILLEGAL_TRANSITION."""
        now = self._clock()

        def work(connection: Connection) -> None:
            # The condition excludes the holder, who must not confirm a refund to themselves.
            found = lock_cancellation(connection, cancellation_id, event_administered_by(caller))
            if found is None:
                raise cancellation_not_found(cancellation_id)
            order = refund_orders.lock(connection, found.event_id, cancellation_id)
            if order is None:
                refunded = cancellations.record_refund(found, made.refund_id, now)
            elif _confirm_order(connection, order, caller, made, now):
                refunded = cancellations.record_payment_by_hand(found, made.refund_id, now)
            else:
                return
            if refunded is found:
                return
            update_cancellations(connection, [refunded])
            if order is None:
                ledger.enter_refund_of(connection, refunded.event_id, cancellation_id, now)
            facts = {"cancellation_id": str(cancellation_id), **_facts(made)}
            change = Change(ChangeKind.REFUND_CONFIRMED, refunded.event_id, None, refunded.ticket_id, facts)
            changes.record(connection, caller, change, now)
            outbox.write(connection, refund_ended(refunded), now)

        await self._database.run(work)

    async def of_payment(self, caller: Caller, purchase_id: UUID, made: Confirmation) -> None:
        """Record the refund of the oldest payment of a purchase that is due; raise PURCHASE_NOT_FOUND or ILLEGAL_TRANSITION."""
        now = self._clock()

        def work(connection: Connection) -> None:
            purchase, _ = lock_purchase(connection, purchase_id, event_administered_by(caller))
            change = Change(ChangeKind.REFUND_CONFIRMED, purchase.event_id, purchase_id, details=_facts(made))
            due = [one for one in holds.refunds_due(connection, purchase) if one.payment.provider == EXTERNAL]
            if any(one.refund_id == made.refund_id for one in due):
                return
            outstanding = [one.payment for one in due if one.refund_id is None]
            if outstanding:
                record_refund(connection, purchase, outstanding[0], made.refund_id, now)
                ledger.enter(connection, payment_refund_entry(purchase, outstanding[0], made.refund_id), now)
                changes.record(connection, caller, change, now)
                return
            ordered = refund_orders.lock_of_payments(connection, purchase.event_id, purchase_id)
            if any(order.is_by_hand and order.refund_id == made.refund_id for order in ordered):
                return
            waiting = [order for order in ordered if order.status is not RefundOrderStatus.DONE]
            # A refused one first: the provider makes the others.
            waiting.sort(key=lambda order: order.failure is None)
            if not waiting:
                raise refund_not_confirmable(purchase.status, None, Instead.NOTHING, PurchaseStatus.REFUNDED)
            order = waiting[0]
            if _confirm_order(connection, order, caller, made, now):
                payment = Payment(order.payment_id, (order.currency, order.amount), order.provider)
                record_refund(connection, purchase, payment, made.refund_id, now)
                changes.record(connection, caller, change, now)

        await self._database.run(work)

    async def of_ticket(self, caller: Caller, ticket_refund_id: UUID, made: Confirmation) -> None:
        """Record a refund without a cancellation; raise TICKET_REFUND_NOT_FOUND or ILLEGAL_TRANSITION."""
        now = self._clock()

        def work(connection: Connection) -> None:
            found = refund_store.lock(connection, ticket_refund_id, event_administered_by(caller))
            if found is None:
                raise ticket_refund_not_found(ticket_refund_id)
            order = refund_orders.lock(connection, found.event_id, ticket_refund_id)
            if order is not None and not _confirm_order(connection, order, caller, made, now):
                return
            refunded = ticket_refunds.record_refund(found, made.refund_id, now)
            if refunded is found:
                return
            refund_store.update(connection, refunded)
            if order is None:
                ledger.enter(connection, ticket_refund_entry(refunded), now)
            facts = {"ticket_refund_id": str(ticket_refund_id), **_facts(made)}
            change = Change(ChangeKind.REFUND_CONFIRMED, found.event_id, found.purchase_id, found.ticket_id, facts)
            changes.record(connection, caller, change, now)
            outbox.write(connection, ticket_refund_made(refunded), now)

        await self._database.run(work)


def _facts(made: Confirmation) -> dict[str, object]:
    return {"refund_id": made.refund_id} | ({"by_hand": True} if made.by_hand else {})


def _confirm_order(
    connection: Connection, order: RefundOrder, caller: Caller, made: Confirmation, now: datetime
) -> bool:
    """End a locked order that was paid by hand; return False if it had ended so before.

    Raises:
        Failure: ILLEGAL_TRANSITION.
    """
    paid = domain.confirm(order, made, now)
    if paid is order:
        return False
    refund_orders.update(connection, paid)
    note = f"paid by hand, confirmed by {caller.subject}"
    ledger.enter(connection, refund_entry(paid, EntryKind.REFUNDED, made.refund_id, note), now)
    return True
