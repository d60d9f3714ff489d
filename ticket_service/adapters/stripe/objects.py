"""Convert Stripe's objects to the records of the domain."""

from typing import Final

import stripe

from ticket_service.adapters.stripe.amounts import from_stripe
from ticket_service.domain.disputes import DisputeStatus
from ticket_service.domain.payments import RefundState
from ticket_service.domain.reconciliation import ProviderCharge, ProviderDispute, ProviderRefund

_REFUNDS: Final = {
    "succeeded": RefundState.MADE,
    "failed": RefundState.REFUSED,
    "canceled": RefundState.REFUSED,
}
_DISPUTES: Final = {
    "warning_needs_response": DisputeStatus.INQUIRY,
    "warning_under_review": DisputeStatus.INQUIRY,
    "warning_closed": DisputeStatus.CLOSED,
    "prevented": DisputeStatus.CLOSED,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}


def charge_of(intent: stripe.PaymentIntent) -> ProviderCharge | None:
    """Convert an intent of this service that captured money; return None for any other."""
    metadata = metadata_of(intent)
    if intent.status != "succeeded" or "purchase_id" not in metadata:
        return None
    currency, event_id = intent.currency.upper(), metadata.get("event_id", "")
    amount = from_stripe(currency, intent.amount)
    return ProviderCharge(intent.id, metadata["purchase_id"], currency, amount, event_id)


def refund_of(refund: stripe.Refund) -> ProviderRefund:
    """Convert a refund; a refund that a person made in the dashboard has no order."""
    metadata = metadata_of(refund)
    round_, currency = metadata.get("round", ""), refund.currency.upper()
    return ProviderRefund(
        refund.id,
        metadata.get("order_id", ""),
        currency,
        from_stripe(currency, refund.amount),
        _REFUNDS.get(refund.status or "", RefundState.WAITING),
        _id_of(refund.payment_intent),
        int(round_) if round_.isdecimal() else 0,
        getattr(refund, "failure_reason", None) or refund.status or "",
    )


def dispute_of(dispute: stripe.Dispute) -> ProviderDispute:
    """Convert a dispute; a status that this version does not know counts as open."""
    currency = dispute.currency.upper()
    return ProviderDispute(
        dispute.id,
        _id_of(dispute.payment_intent),
        currency,
        from_stripe(currency, dispute.amount),
        _DISPUTES.get(dispute.status, DisputeStatus.OPEN),
        dispute.reason,
    )


def _id_of(payment_intent: str | stripe.PaymentIntent | None) -> str:
    if payment_intent is None or isinstance(payment_intent, str):
        return payment_intent or ""
    return payment_intent.id


def metadata_of(stored: stripe.PaymentIntent | stripe.Refund) -> dict[str, str]:
    """Return the metadata of an intent or a refund; {} if it has none."""
    return stored.metadata.to_dict() if stored.metadata else {}
