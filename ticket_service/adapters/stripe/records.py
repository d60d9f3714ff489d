"""List the payments and refunds of this service at Stripe, for the audit."""

from datetime import UTC, datetime
from typing import Final

import requests
import stripe

from ticket_service.adapters.stripe.amounts import from_stripe
from ticket_service.adapters.stripe.payments import metadata_of, new_client
from ticket_service.domain.reconciliation import ProviderCharge, ProviderRecords, ProviderRefund
from ticketing.chassis.failures import dependency_unavailable

PAGE: Final = 100
# The audit has no sweep that repeats a call. The library waits with jitter between retries.
RETRIES: Final = 5


def read_records(key: str, api_base: str) -> ProviderRecords:
    """List all payments and refunds of the account, which belongs to one tickets database.

    Raises:
        Failure: DEPENDENCY_UNAVAILABLE: Stripe did not answer.
    """
    read_time = datetime.now(UTC)
    with requests.Session() as session:
        client = new_client(key, api_base, session, retries=RETRIES)
        try:
            intents = client.v1.payment_intents.list({"limit": PAGE}).auto_paging_iter()
            charges = [_charge(intent) for intent in intents if intent.status == "succeeded" and _is_own(intent)]
            refunds = client.v1.refunds.list({"limit": PAGE}).auto_paging_iter()
            made = [
                _refund(refund) for refund in refunds if refund.status not in {"failed", "canceled"} and _is_own(refund)
            ]
        except stripe.StripeError as error:
            raise dependency_unavailable("payment provider") from error
    return ProviderRecords(read_time, tuple(charges), tuple(made))


def _charge(intent: stripe.PaymentIntent) -> ProviderCharge:
    currency = intent.currency.upper()
    amount = from_stripe(currency, intent.amount)
    return ProviderCharge(intent.id, metadata_of(intent)["purchase_id"], currency, amount)


def _refund(refund: stripe.Refund) -> ProviderRefund:
    # A refund that a person made in the dashboard has no order.
    order_id = metadata_of(refund).get("order_id", "")
    currency = refund.currency.upper()
    amount = from_stripe(currency, refund.amount)
    return ProviderRefund(refund.id, order_id, currency, amount, refund.status == "succeeded")


def _is_own(stored: stripe.PaymentIntent | stripe.Refund) -> bool:
    return "purchase_id" in metadata_of(stored)
