"""Places kept until they are paid for: what a payment leads to, early or late, and what ends a hold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from ticket_service.domain.events import EventStatus
from ticket_service.domain.payments import LOOK_AGAIN, ChargeState, Progress
from ticket_service.domain.purchases import EXTERNAL, Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import illegal_transition
from ticket_service.domain.sales import Inventory, Terms, check_places, price_changed, tickets_of
from ticket_service.domain.tickets import Ticket
from ticketing.chassis.failures import Failure

# Who pays for one of these gets places only if there are still some.
ENDED = frozenset({PurchaseStatus.EXPIRED, PurchaseStatus.RELEASED, PurchaseStatus.DECLINED})


@dataclass(frozen=True, slots=True)
class Payment:
    """What was taken: by the caller's own payment system, unless a provider of ours is named."""

    payment_id: str
    # Currency and minor units.
    paid: tuple[str, int]
    provider: str = EXTERNAL


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment led to."""

    purchase: Purchase
    tickets: tuple[Ticket, ...] = ()
    # The payment is owed back.
    refund_due: bool = False


def paid(purchase: Purchase, payment: Payment, inventory: Inventory, terms: Terms) -> Paid:
    """Return what a payment leads to that was not known before; `shelf` counts the places it takes or frees.

    Raises:
        Failure: PRICE_CHANGED where it is not what was asked for.
    """
    if payment.paid != (purchase.currency, purchase.total):
        raise price_changed(purchase.currency, purchase.total, payment.paid)
    if purchase.status in {PurchaseStatus.COMPLETED, PurchaseStatus.REFUNDING}:
        return Paid(purchase, refund_due=True)
    if purchase.status is PurchaseStatus.REFUNDED:
        return Paid(replace(purchase, status=PurchaseStatus.REFUNDING), refund_due=True)
    is_held = purchase.status is PurchaseStatus.HELD
    if inventory.event.status_at(terms.now) is not EventStatus.PUBLISHED or not (
        is_held or _has_places(purchase, inventory)
    ):
        if is_held:
            inventory.free(purchase.items)
        return Paid(_left(purchase, PurchaseStatus.REFUNDING, terms.now, payment), refund_due=True)
    if not is_held:
        inventory.take(purchase.items)
    completed = _left(purchase, PurchaseStatus.COMPLETED, terms.now, payment)
    return Paid(completed, tickets_of(inventory, completed, terms))


def released(purchase: Purchase, inventory: Inventory, now: datetime) -> Purchase:
    """Return a purchase as it is once given up; one whose places went back already stays as it is.

    Raises:
        Failure: ILLEGAL_TRANSITION where it was paid.
    """
    if purchase.status in ENDED:
        return purchase
    if purchase.status is not PurchaseStatus.HELD:
        raise illegal_transition(purchase.status, PurchaseStatus.RELEASED)
    inventory.free(purchase.items)
    return _left(purchase, PurchaseStatus.RELEASED, now)


def expired(held: Sequence[Purchase], inventory: Inventory, now: datetime) -> list[Purchase]:
    """Return HELD purchases as they are once nobody paid in time."""
    for purchase in held:
        inventory.free(purchase.items)
    return [_left(purchase, PurchaseStatus.EXPIRED, now) for purchase in held]


def progressed(purchase: Purchase, progress: Progress, inventory: Inventory, now: datetime) -> Purchase:
    """Return a HELD purchase as it is once a provider of ours told that its payment is under way, or withdrawn."""
    expires = purchase.hold_expire_time or now
    if progress.state is ChargeState.WITHDRAWN:
        inventory.free(purchase.items)
        if progress.decline_code is not None:
            return _left(replace(purchase, decline_code=progress.decline_code), PurchaseStatus.DECLINED, now)
        return _left(purchase, PurchaseStatus.RELEASED if now < expires else PurchaseStatus.EXPIRED, now)
    due = purchase.due_time if progress.state is ChargeState.CREATED else min(expires, now + LOOK_AGAIN)
    return replace(purchase, payment_id=progress.payment_id, client_secret=progress.client_secret, due_time=due)


def refunded(purchase: Purchase) -> Purchase:
    """Return a REFUNDING purchase as it is once everything was given back."""
    return replace(purchase, status=PurchaseStatus.REFUNDED)


def used_elsewhere(payment_id: str, purchase_id: UUID) -> Failure:
    """Say that the payment pays another purchase."""
    message = "the payment pays another purchase"
    return Failure(Reason.PAYMENT_ALREADY_USED, message, payment_id=payment_id, purchase_id=purchase_id)


def _has_places(purchase: Purchase, inventory: Inventory) -> bool:
    try:
        check_places(inventory, purchase.items)
    except Failure:
        return False
    return True


def _left(purchase: Purchase, status: PurchaseStatus, now: datetime, payment: Payment | None = None) -> Purchase:
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
