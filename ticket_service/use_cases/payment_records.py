"""Store payments together with their effects: issued tickets or a due refund, exactly one of them."""

from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import holds as domain
from ticket_service.domain.holds import Payment, PaymentResult
from ticket_service.domain.ledger import payment_entry
from ticket_service.domain.notifications import Notification, payment_refund_due, purchase_completed
from ticket_service.domain.purchases import EXTERNAL, Purchase
from ticket_service.domain.refund_orders import order_of_payment
from ticket_service.domain.refusals import event_not_found, payment_already_used
from ticket_service.domain.sales import Inventory, SaleContext
from ticket_service.store import holds as store
from ticket_service.store import ledger, outbox, refund_orders
from ticket_service.store.customers import find_holdings
from ticket_service.store.events import lock_event
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.ids import new_id


class PaymentRecords:
    """Payments of purchases whose event is locked; `context` returns the limits and the present time."""

    def __init__(self, issuing: Issuing, context: Callable[[], SaleContext]) -> None:
        self._issuing = issuing
        self._context = context

    def decide(
        self, connection: Connection, purchase: Purchase, payment: Payment, inventory: Inventory
    ) -> PaymentResult:
        """Return the effect of a payment that is not recorded; raise PRICE_CHANGED for another amount than the total."""
        context = self._context()
        # The customer may have bought other tickets since the hold ended.
        is_late = purchase.status in domain.ENDED
        holdings = find_holdings(connection, purchase, context.now) if is_late else None
        return domain.apply_payment(purchase, payment, inventory, context, holdings)

    def store(
        self, connection: Connection, paid: Sequence[tuple[Payment, PaymentResult]], inventory: Inventory
    ) -> None:
        """Store payments in their order, and their effects.

        Raises:
            Failure: PAYMENT_ALREADY_USED: a purchase of another event, whose lock is another one, has recorded a payment
                since the look-up.
        """
        now = self._context().now
        if taken := store.insert_payments(connection, paid, now):
            purchases = store.paid_purchases(connection, taken)
            raise payment_already_used(taken[0].payment_id, purchases[store.key_of(taken[0])])
        ledger.enter_all(connection, [payment_entry(result.purchase, payment) for payment, result in paid], now)
        for payment, result in paid:
            if result.refund_due and payment.provider != EXTERNAL:
                refund_orders.insert(connection, order_of_payment(result.purchase, payment, new_id(), now))
        # The last state of a purchase that was paid twice.
        after = {result.purchase.purchase_id: result.purchase for _, result in paid}
        store.update_purchases(connection, list(after.values()))
        tickets = [ticket for _, result in paid for ticket in result.tickets]
        digests = {ticket.ticket_id: self._issuing.digests(self._issuing.secrets(ticket)) for ticket in tickets}
        store.insert_tickets(connection, tickets, digests)
        outbox.write(connection, [one for payment, result in paid for one in _notifications(payment, result)], now)
        store.update_counters(connection, inventory)


def _notifications(payment: Payment, result: PaymentResult) -> Sequence[Notification]:
    if result.refund_due:
        return payment_refund_due(result.purchase, payment.payment_id, payment.provider)
    return purchase_completed(result.purchase, result.tickets)


def lock_inventory(connection: Connection, event_id: UUID) -> Inventory:
    """Lock an event, and with it its places."""
    event = lock_event(connection, event_id)
    if event is None:
        raise event_not_found(event_id)
    return Inventory(event)
