"""The ledger: every charge, refund and attempt, entered with what it led to and never changed. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.holds import Payment
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.refund_orders import RefundOrder


class EntryKind(StrEnum):
    """What happened."""

    # A charge is about to be confirmed.
    CHARGE_TRIED = "CHARGE_TRIED"
    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    # Given up before anything was taken.
    WITHDRAWN = "WITHDRAWN"
    # A refund is about to be asked for.
    REFUND_TRIED = "REFUND_TRIED"
    REFUNDED = "REFUNDED"
    REFUND_REFUSED = "REFUND_REFUSED"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, in minor units; which way the money went says the kind."""

    event_id: UUID
    purchase_id: UUID
    kind: EntryKind
    provider: str
    payment_id: str | None
    currency: str
    amount: int
    # The refund order or, where the caller's own system refunds, the cancellation.
    order_id: UUID | None = None
    refund_id: str | None = None
    # What the provider said.
    note: str = ""


def charge_entries(before: Purchase, after: Purchase) -> list[Entry]:
    """Enter what became of a charge by a provider of ours, short of its payment."""
    kinds = []
    if before.payment_id is None and after.payment_id is not None:
        kinds.append(EntryKind.CHARGE_TRIED)
    if after.status is PurchaseStatus.DECLINED:
        kinds.append(EntryKind.DECLINED)
    elif after.status is not PurchaseStatus.HELD and after.payment_id is not None:
        kinds.append(EntryKind.WITHDRAWN)
    return [
        Entry(
            after.event_id,
            after.purchase_id,
            kind,
            after.provider,
            after.payment_id,
            after.currency,
            after.total,
            note=after.decline_code or "",
        )
        for kind in kinds
    ]


def payment_entry(purchase: Purchase, payment: Payment) -> Entry:
    """Enter a payment."""
    currency, amount = payment.paid
    kind, provider = EntryKind.CHARGED, payment.provider
    return Entry(purchase.event_id, purchase.purchase_id, kind, provider, payment.payment_id, currency, amount)


def payment_refund_entry(purchase: Purchase, payment: Payment, refund_id: str) -> Entry:
    """Enter that the caller's own payment system gave a payment back."""
    return replace(payment_entry(purchase, payment), kind=EntryKind.REFUNDED, refund_id=refund_id)


def refund_entry(order: RefundOrder, kind: EntryKind, refund_id: str | None = None, note: str = "") -> Entry:
    """Enter what became of a refund by a provider of ours."""
    return Entry(
        order.event_id,
        order.purchase_id,
        kind,
        order.provider,
        order.payment_id,
        order.currency,
        order.amount,
        order.order_id,
        refund_id,
        note,
    )
