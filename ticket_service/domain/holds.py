"""Decide the effect of a payment on its purchase, early or late, and the end of a hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ticket_service.domain.customers import Holdings, check_tickets
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.payments import MAX_POLL_INTERVAL, POLL_INTERVAL, ChargeState, Progress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.refusals import illegal_transition
from ticket_service.domain.sales import Inventory, SaleContext, check_places, price_changed, tickets_of
from ticket_service.domain.tickets import Ticket
from ticketing.chassis.failures import Failure

# A payment of a purchase in one of these statuses buys tickets only if places are left.
ENDED = frozenset({PurchaseStatus.EXPIRED, PurchaseStatus.RELEASED, PurchaseStatus.DECLINED})


@dataclass(frozen=True, slots=True)
class Payment:
    """A captured payment."""

    payment_id: str
    # The currency and the amount in minor units.
    paid: tuple[str, int]
    # EXTERNAL: the caller's own payment system captured the payment.
    provider: str = EXTERNAL


def lost_payment(purchase_id: UUID, paid: tuple[str, int]) -> Payment:
    """Return the payment of a restored purchase that the caller's own payment system captured: its id is lost."""
    return Payment(f"lost:{purchase_id}", paid)


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """The purchase after a payment, and the tickets issued for it."""

    purchase: Purchase
    tickets: tuple[Ticket, ...] = ()
    # The payment is to be refunded.
    refund_due: bool = False


def check_paid(purchase: Purchase, payment: Payment) -> None:
    """Raise PRICE_CHANGED if the amount of a payment is not the purchase's total."""
    if payment.paid != (purchase.currency, purchase.total):
        raise price_changed(purchase.currency, purchase.total, payment.paid)


def apply_payment(
    purchase: Purchase, payment: Payment, inventory: Inventory, context: SaleContext, holdings: Holdings | None = None
) -> PaymentResult:
    """Return the result of a payment that is recorded for the first time; reserve or release places accordingly.

    `holdings` are the customer's places, without which no bound per customer applies to a late payment.

    Raises:
        Failure: PRICE_CHANGED if the amount is not the purchase's total.
    """
    check_paid(purchase, payment)
    if purchase.status in {PurchaseStatus.COMPLETED, PurchaseStatus.REFUNDING}:
        return PaymentResult(purchase, refund_due=True)
    if purchase.status is PurchaseStatus.REFUNDED:
        return PaymentResult(replace(purchase, status=PurchaseStatus.REFUNDING), refund_due=True)
    is_held = purchase.status is PurchaseStatus.HELD
    if not _is_on_sale(purchase, inventory.event, context.now) or not (
        is_held or _has_places(purchase, inventory, holdings, context)
    ):
        if is_held:
            inventory.release(purchase.items)
        return PaymentResult(_end(purchase, PurchaseStatus.REFUNDING, context.now, payment), refund_due=True)
    if not is_held:
        inventory.reserve(purchase.items)
    completed = _end(purchase, PurchaseStatus.COMPLETED, context.now, payment)
    return PaymentResult(completed, tickets_of(inventory, completed, context))


def release(purchase: Purchase, inventory: Inventory, now: datetime) -> Purchase:
    """Return a purchase as RELEASED, and release its places; an ended purchase stays unchanged.

    The caller has withdrawn the charge of the purchase, if it has one.

    Raises:
        Failure: ILLEGAL_TRANSITION if the purchase was paid.
    """
    if purchase.status in ENDED:
        return purchase
    if purchase.status is not PurchaseStatus.HELD:
        raise illegal_transition(purchase.status, PurchaseStatus.RELEASED)
    inventory.release(purchase.items)
    return _end(purchase, PurchaseStatus.RELEASED, now)


def has_other_charge(locked: Purchase, withdrawn: Purchase) -> bool:
    """Return whether a HELD purchase has another charge than the withdrawn one, so that its buyer may be charged."""
    return locked.status is PurchaseStatus.HELD and locked.payment_id not in {None, withdrawn.payment_id}


def expire(held: Sequence[Purchase], inventory: Inventory, now: datetime) -> list[Purchase]:
    """Return HELD purchases without a charge as EXPIRED, and release their places."""
    expired = [_end(purchase, PurchaseStatus.EXPIRED, now) for purchase in held if _is_uncharged(purchase)]
    for purchase in expired:
        inventory.release(purchase.items)
    return expired


def apply_progress(purchase: Purchase, progress: Progress, inventory: Inventory, now: datetime) -> Purchase:
    """Apply the provider's report of a charge in progress or withdrawn to a HELD purchase.

    A report of another charge than the stored one changes nothing: only the stored charge is ever confirmed, so only its
    withdrawal proves that the buyer is not charged.
    """
    if purchase.payment_id not in {None, progress.payment_id}:
        return purchase
    expires = purchase.hold_expire_time or now
    if progress.state is ChargeState.WITHDRAWN:
        inventory.release(purchase.items)
        if progress.decline_code is not None:
            return _end(replace(purchase, decline_code=progress.decline_code), PurchaseStatus.DECLINED, now)
        return _end(purchase, PurchaseStatus.RELEASED if now < expires else PurchaseStatus.EXPIRED, now)
    due = purchase.due_time if progress.state is ChargeState.CREATED else _next_look(purchase, now)
    return replace(purchase, payment_id=progress.payment_id, client_secret=progress.client_secret, due_time=due)


def _next_look(purchase: Purchase, now: datetime) -> datetime:
    """Return the next time to ask about a charge that waits for the buyer or a bank; it is always later than `now`.

    After the end of the hold the interval grows with the time since then: a bank may process a payment for days.
    """
    expires = purchase.hold_expire_time or now
    if now < expires:
        return min(expires, now + POLL_INTERVAL)
    wait = min(max(POLL_INTERVAL, (now - expires) / 4), MAX_POLL_INTERVAL)
    # The id serves as jitter, so that charges that became due together are not asked about together again.
    return now + wait * (1 + purchase.purchase_id.int % 256 / 1024)


def _is_uncharged(purchase: Purchase) -> bool:
    return purchase.provider == EXTERNAL and purchase.payment_id is None


def complete_refund(purchase: Purchase) -> Purchase:
    """Return a REFUNDING purchase as REFUNDED, after the refund of every payment due."""
    return replace(purchase, status=PurchaseStatus.REFUNDED)


def reopen_refund(purchase: Purchase) -> Purchase:
    """Return a REFUNDED purchase as REFUNDING, after a refund failed later; any other stays unchanged."""
    if purchase.status is not PurchaseStatus.REFUNDED:
        return purchase
    return replace(purchase, status=PurchaseStatus.REFUNDING)


def _is_on_sale(purchase: Purchase, event: Event, now: datetime) -> bool:
    # The currency of an event may change after a hold has ended. All tickets of an event have the currency of the event.
    return event.status_at(now) is EventStatus.PUBLISHED and event.currency == purchase.currency


def _has_places(purchase: Purchase, inventory: Inventory, holdings: Holdings | None, context: SaleContext) -> bool:
    try:
        check_places(inventory, purchase.items)
        if holdings is not None:
            check_tickets(inventory.event, purchase.items, holdings, context.customers)
    except Failure:
        return False
    return True


def _end(purchase: Purchase, status: PurchaseStatus, now: datetime, payment: Payment | None = None) -> Purchase:
    return replace(
        purchase,
        status=status,
        provider=payment.provider if payment else purchase.provider,
        payment_id=payment.payment_id if payment else purchase.payment_id,
        complete_time=now,
        due_time=None,
        payment_method=None,
        client_secret=None,
    )
