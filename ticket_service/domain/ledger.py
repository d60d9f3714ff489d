"""Ledger entries: every charge, refund and attempt is entered with its effect and never changed."""

from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.disputes import Dispute
from ticket_service.domain.holds import Payment
from ticket_service.domain.outside_refunds import OutsideRefund
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.refund_orders import RefundOrder
from ticket_service.domain.ticket_refunds import TicketRefund


class EntryKind(StrEnum):
    """The kind of a ledger entry."""

    # The service is about to confirm a charge.
    CHARGE_TRIED = "CHARGE_TRIED"
    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    # The charge ended without a captured payment.
    WITHDRAWN = "WITHDRAWN"
    # The service is about to request a refund from the provider.
    REFUND_TRIED = "REFUND_TRIED"
    REFUNDED = "REFUNDED"
    REFUND_REFUSED = "REFUND_REFUSED"
    # A refund that was made has failed later, or a lost dispute was decided anew: the money came back.
    REFUND_RETURNED = "REFUND_RETURNED"
    # A dispute moves no money of the ledger before it is lost.
    DISPUTED = "DISPUTED"
    DISPUTE_WON = "DISPUTE_WON"
    DISPUTE_LOST = "DISPUTE_LOST"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the ledger, in minor units; the kind says in which direction the money moved."""

    event_id: UUID
    purchase_id: UUID
    kind: EntryKind
    provider: str
    payment_id: str | None
    currency: str
    amount: int
    # The refund order or, where the caller's own payment system refunds, the cancellation.
    order_id: UUID | None = None
    refund_id: str | None = None
    # The provider's decline code, error or reason.
    note: str = ""


def charge_entries(before: Purchase, after: Purchase) -> list[LedgerEntry]:
    """Return the entries of a charge that was created, declined or withdrawn between two states of a purchase."""
    kinds = []
    if before.payment_id is None and after.payment_id is not None:
        kinds.append(EntryKind.CHARGE_TRIED)
    if after.status is PurchaseStatus.DECLINED:
        kinds.append(EntryKind.DECLINED)
    elif after.status is not PurchaseStatus.HELD and after.payment_id is not None:
        kinds.append(EntryKind.WITHDRAWN)
    return [
        LedgerEntry(
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


def withdrawn_entry(purchase: Purchase) -> LedgerEntry:
    """Return the entry of a stored charge that was withdrawn before a caller's change of the purchase."""
    kind, provider, payment_id = EntryKind.WITHDRAWN, purchase.provider, purchase.payment_id
    event_id, currency = purchase.event_id, purchase.currency
    return LedgerEntry(event_id, purchase.purchase_id, kind, provider, payment_id, currency, purchase.total)


def payment_entry(purchase: Purchase, payment: Payment) -> LedgerEntry:
    """Return the entry of a payment."""
    currency, amount = payment.paid
    kind, provider = EntryKind.CHARGED, payment.provider
    return LedgerEntry(purchase.event_id, purchase.purchase_id, kind, provider, payment.payment_id, currency, amount)


def payment_refund_entry(purchase: Purchase, payment: Payment, refund_id: str) -> LedgerEntry:
    """Return the entry of a payment that the caller's own payment system refunded."""
    return replace(payment_entry(purchase, payment), kind=EntryKind.REFUNDED, refund_id=refund_id)


def ticket_refund_entry(refund: TicketRefund) -> LedgerEntry:
    """Return the entry of a refund without a cancellation that the caller's own payment system made."""
    return LedgerEntry(
        refund.event_id,
        refund.purchase_id,
        EntryKind.REFUNDED,
        refund.provider,
        refund.payment_id,
        refund.currency,
        refund.amount,
        refund.ticket_refund_id,
        refund.refund_id,
    )


def refund_entry(order: RefundOrder, kind: EntryKind, refund_id: str | None = None, note: str = "") -> LedgerEntry:
    """Return the entry of a try, a refund, a refusal or a late failure of an order."""
    return LedgerEntry(
        order.event_id,
        order.purchase_id,
        kind,
        order.provider,
        order.payment_id,
        order.currency,
        order.remaining,
        order.order_id,
        refund_id,
        note,
    )


def outside_refund_entry(outside: OutsideRefund, kind: EntryKind, note: str = "") -> LedgerEntry:
    """Return the entry of a refund that was made outside of this service, or of its return."""
    return LedgerEntry(
        outside.event_id,
        outside.purchase_id,
        kind,
        outside.provider,
        outside.payment_id,
        outside.currency,
        outside.amount,
        refund_id=outside.refund_id,
        note=note,
    )


def dispute_entry(dispute: Dispute, kind: EntryKind) -> LedgerEntry:
    """Return the entry of a dispute that was opened or decided."""
    return LedgerEntry(
        dispute.event_id,
        dispute.purchase_id,
        kind,
        dispute.provider,
        dispute.payment_id,
        dispute.currency,
        dispute.amount,
        refund_id=dispute.provider_id,
        note=dispute.reason,
    )
