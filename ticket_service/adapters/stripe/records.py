"""List the payments, refunds and disputes of this service at Stripe, for the audit."""

from datetime import UTC, datetime
from typing import Final

import requests
import stripe

from ticket_service.adapters.stripe.objects import charge_of, dispute_of, refund_of
from ticket_service.adapters.stripe.payments import new_client
from ticket_service.domain.reconciliation import ProviderRecords
from ticketing.chassis.failures import dependency_unavailable

PAGE: Final = 100
# The audit has no sweep that repeats a call. The library waits with jitter between retries.
RETRIES: Final = 5


def read_records(key: str, api_base: str) -> ProviderRecords:
    """List all payments, refunds and disputes of the account, which belongs to one tickets database.

    Raises:
        Failure: DEPENDENCY_UNAVAILABLE: Stripe did not answer.
    """
    read_time = datetime.now(UTC)
    with requests.Session() as session:
        client = new_client(key, api_base, session, retries=RETRIES)
        try:
            intents = client.v1.payment_intents.list({"limit": PAGE}).auto_paging_iter()
            charges = [charge for intent in intents if (charge := charge_of(intent)) is not None]
            refunds = client.v1.refunds.list({"limit": PAGE}).auto_paging_iter()
            own = {charge.payment_id for charge in charges}
            made = [refund_of(refund) for refund in refunds]
            disputes = client.v1.disputes.list({"limit": PAGE}).auto_paging_iter()
            disputed = [dispute_of(dispute) for dispute in disputes]
        except stripe.StripeError as error:
            raise dependency_unavailable("payment provider") from error
    return ProviderRecords(
        read_time,
        tuple(charges),
        tuple(one for one in made if one.payment_id in own or one.order_id),
        tuple(one for one in disputed if one.payment_id in own),
    )
