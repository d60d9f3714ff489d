"""Read the payments, refunds and disputes of this service at Stripe, for the reconciler."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus
from typing import Final, TypeVar

import requests
import stripe

from ticket_service.adapters.payment_provider import HistoryPage
from ticket_service.adapters.stripe.objects import charge_of, dispute_of, refund_of
from ticket_service.adapters.stripe.payments import MAX_REFUNDS, new_client
from ticket_service.domain.findings import ProviderPayment, by_payment
from ticket_service.domain.looks import Listing
from ticket_service.domain.reconciliation import ProviderCharge, ProviderDispute, ProviderRefund
from ticketing.chassis.failures import dependency_unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE: Final = 100
# The reconciler has threads of its own, so that no buyer waits for it.
THREADS: Final = 2


_Page = stripe.ListObject[stripe.PaymentIntent] | stripe.ListObject[stripe.Refund] | stripe.ListObject[stripe.Dispute]


class StripeHistory:
    """The records of one Stripe account, page by page and by payment."""

    def __init__(self, key: str, api_base: str) -> None:
        self._session = requests.Session()
        self._client = new_client(key, api_base, self._session, retries=0)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stripe-history")

    async def page(self, listing: Listing, since: datetime, after: str | None) -> HistoryPage:
        """Read a page of a listing, newest records first.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE.
        """
        return await self._run(lambda: self._page(listing, since, after))

    async def payment(self, payment_id: str) -> ProviderPayment | None:
        """Read everything about one payment; None: Stripe has no payment with this id.

        Raises:
            Failure: DEPENDENCY_UNAVAILABLE.
        """
        return await self._run(lambda: self._payment(payment_id))

    async def close(self) -> None:
        """Wait for running calls, then close every connection."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._session.close()

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except stripe.StripeError as error:
            # With a status of 4xx, such as of a key that lacks a permission, Stripe did answer.
            status = error.http_status or 0
            is_refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
            message = "Stripe refused a call" if is_refused else "Stripe did not answer"
            log.warning(message, extra={"error": type(error).__name__, "status": error.http_status})
            raise dependency_unavailable("payment provider") from error

    def _page(self, listing: Listing, since: datetime, after: str | None) -> HistoryPage:
        v1 = self._client.v1
        created: stripe.params.PaymentIntentListParamsCreated = {"gte": int(since.timestamp())}
        charges: list[ProviderCharge] = []
        refunds: list[ProviderRefund] = []
        disputes: list[ProviderDispute] = []
        page: _Page
        match listing:
            case Listing.CHARGES:
                asked: stripe.params.PaymentIntentListParams = {"limit": PAGE, "created": created}
                page = v1.payment_intents.list(asked if after is None else {**asked, "starting_after": after})
                charges = [charge for intent in page.data if (charge := charge_of(intent)) is not None]
            case Listing.REFUNDS:
                wanted: stripe.params.RefundListParams = {"limit": PAGE, "created": {"gte": created["gte"]}}
                page = v1.refunds.list(wanted if after is None else {**wanted, "starting_after": after})
                refunds = [refund_of(refund) for refund in page.data if refund.payment_intent]
            case Listing.DISPUTES:
                sought: stripe.params.DisputeListParams = {"limit": PAGE, "created": {"gte": created["gte"]}}
                page = v1.disputes.list(sought if after is None else {**sought, "starting_after": after})
                disputes = [dispute_of(dispute) for dispute in page.data if dispute.payment_intent]
        return HistoryPage(
            tuple(by_payment(charges, refunds, disputes)), page.data[-1].id if page.has_more and page.data else None
        )

    def _payment(self, payment_id: str) -> ProviderPayment | None:
        v1 = self._client.v1
        try:
            intent = v1.payment_intents.retrieve(payment_id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            raise
        refunds = v1.refunds.list({"payment_intent": payment_id, "limit": PAGE}).auto_paging_iter()
        disputes = v1.disputes.list({"payment_intent": payment_id, "limit": PAGE})
        return ProviderPayment(
            payment_id,
            charge_of(intent),
            tuple(refund_of(refund) for _, refund in zip(range(MAX_REFUNDS), refunds, strict=False)),
            tuple(dispute_of(dispute) for dispute in disputes.data),
        )
