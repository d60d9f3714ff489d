"""Charge cards and refund payments at Stripe.

The adapter creates an unconfirmed PaymentIntent, the service stores its id, and only then does the adapter confirm it.
Every step first reads the state of the intent, so the adapter never guesses the result of a lost answer. Stripe's
library blocks, so calls run in threads of their own: if Stripe hangs, only buyers who pay with Stripe wait.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeVar

import requests
import stripe

from ticket_service.adapters.stripe.amounts import to_stripe
from ticket_service.adapters.stripe.objects import refund_of
from ticket_service.domain.payments import Charge, ChargeState, Progress, RefundProgress, RefundState
from ticket_service.domain.reconciliation import ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder
from ticketing.chassis.failures import dependency_unavailable, overloaded
from ticketing.chassis.waits import waiting_for

log = logging.getLogger(__name__)
T = TypeVar("T")

# Every call names the version, so that an upgrade of the library or the account does not change the behaviour.
API_VERSION: Final = "2024-06-20"
CALL_SECONDS: Final = 2.0
THREADS: Final = 8
# Calls that may wait for a thread; the next call is OVERLOADED.
MAX_WAITING: Final = 256
# After an answer that Stripe limits the rate, no call is made for the time that Stripe names, or for this one.
PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
# The refunds of one payment that a search reads: more than a purchase can have tickets.
MAX_REFUNDS: Final = 10_000

# After these errors the result is unknown, and another try with the same idempotency key is safe.
_TRANSIENT: Final = (stripe.APIConnectionError, stripe.APIError, stripe.IdempotencyError)
_STATES: Final = {
    "requires_payment_method": ChargeState.DECLINED,
    "requires_confirmation": ChargeState.CREATED,
    "requires_action": ChargeState.WAITING,
    "processing": ChargeState.WAITING,
    "succeeded": ChargeState.PAID,
    "canceled": ChargeState.WITHDRAWN,
}
_ENDED: Final = frozenset({ChargeState.PAID, ChargeState.WITHDRAWN})


def new_client(key: str, api_base: str, session: requests.Session, *, retries: int) -> stripe.StripeClient:
    """Make a client with a fixed API version and a deadline for every call."""
    # The log of the library contains payment methods and client secrets.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    return stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": api_base},
        http_client=stripe.RequestsClient(timeout=CALL_SECONDS, session=session),
        max_network_retries=retries,
    )


class StripePayments:
    """The payments of one Stripe account; `api_base` is the URL of its API."""

    def __init__(self, key: str, api_base: str) -> None:
        # All threads share one session, so that `close` can close it.
        self._session = requests.Session()
        # The library makes no retries: the use case and the sweeper repeat the call.
        client = new_client(key, api_base, self._session, retries=0)
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stripe")
        self._under_way = 0
        # The end of the pause, on the monotonic clock.
        self._paused_until = 0.0

    async def advance(self, charge: Charge) -> Progress:
        """Create the intent, or confirm the stored intent unless it is confirmed already."""
        if charge.payment_id is None:
            return await self._run(lambda: self._create(charge))
        payment_id = charge.payment_id
        progress = await self._run(lambda: self._retrieve(payment_id))
        if progress.state is not ChargeState.CREATED:
            return progress
        return await self._run(lambda: self._confirm(payment_id))

    async def withdraw(self, charge: Charge) -> Progress:
        """Cancel the intent; return WITHDRAWN, or PAID if Stripe has captured the money already."""
        if charge.payment_id is None:
            # An intent without a stored id is never confirmed, and its client secret was never sent to a client.
            return Progress(ChargeState.WITHDRAWN)
        payment_id = charge.payment_id
        progress = await self._run(lambda: self._retrieve(payment_id))
        if progress.state in _ENDED:
            return progress
        return await self._run(lambda: self._cancel(payment_id))

    async def refund(self, order: RefundOrder) -> RefundProgress:
        """Make a refund; the caller has listed the refunds before, because Stripe stores idempotency keys for a day."""
        return await self._run(lambda: self._refund(order))

    async def list_refunds(self, payment_id: str) -> Sequence[ProviderRefund]:
        """List all refunds of a payment."""
        return await self._run(lambda: self._list_refunds(payment_id))

    async def close(self) -> None:
        """Wait for running calls, then close every connection."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._session.close()

    async def _run(self, call: Callable[[], T]) -> T:
        if self._under_way >= THREADS + MAX_WAITING:
            raise overloaded("payments")
        if (pause := self._paused_until - time.monotonic()) > 0:
            # A sweep over many purchases would otherwise keep the rate above the limit.
            raise dependency_unavailable("payment provider", timedelta(seconds=pause))
        self._under_way += 1
        try:
            with waiting_for("payment provider"):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except stripe.RateLimitError as error:
            pause = _pause_seconds(error)
            self._paused_until = max(self._paused_until, time.monotonic() + pause)
            log.warning("Stripe limits the rate of calls", extra={"seconds": pause})
            raise dependency_unavailable("payment provider", timedelta(seconds=pause)) from error
        except _TRANSIENT as error:
            log.warning("Stripe did not answer", extra={"error": type(error).__name__, "status": error.http_status})
            raise dependency_unavailable("payment provider") from error
        except stripe.StripeError as error:
            # Stripe refuses a well-formed call: the key or the account is wrong, and an operator must repair it.
            log.exception("Stripe refused a call", extra={"code": error.code, "status": error.http_status})
            raise dependency_unavailable("payment provider") from error
        finally:
            self._under_way -= 1

    def _create(self, charge: Charge) -> Progress:
        amount = to_stripe(charge.currency, charge.amount)
        if amount is None:
            # The price was set before the rules of Stripe were checked.
            return Progress(ChargeState.DECLINED, decline_code="invalid_amount")
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": amount,
            "currency": charge.currency.lower(),
            "payment_method": charge.payment_method or "",
            "payment_method_types": ["card"],  # type: ignore[typeddict-unknown-key]  # of the fixed API version
            "metadata": {"purchase_id": str(charge.purchase_id), "event_id": str(charge.event_id)},
        }
        try:
            try:
                intent = self._intents.create(params, {"idempotency_key": f"create-{charge.purchase_id}"})
            except stripe.APIError as error:
                if not _is_repeated(error):
                    raise
                # Another intent is harmless: an intent without a stored id is never confirmed.
                intent = self._intents.create(params)
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            # An unknown payment method or too small an amount: Stripe created nothing.
            return Progress(ChargeState.DECLINED, decline_code=error.code or "invalid_request")
        return _progress(intent)

    def _retrieve(self, payment_id: str) -> Progress:
        return _progress(self._intents.retrieve(payment_id))

    # Confirm and cancel have a new key in every call: an intent is captured at most once whatever the keys, and under a
    # key of its own Stripe would repeat a refusal for a day, although the intent has changed since.
    def _confirm(self, payment_id: str) -> Progress:
        try:
            return _progress(self._intents.confirm(payment_id))
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            progress = self._retrieve(payment_id)
            if progress.state is not ChargeState.CREATED:
                return progress
            return Progress(ChargeState.DECLINED, payment_id, decline_code=error.code or "invalid_request")

    def _cancel(self, payment_id: str) -> Progress:
        try:
            return _progress(self._intents.cancel(payment_id))
        except stripe.InvalidRequestError:
            # The state of the intent has changed meanwhile.
            return self._retrieve(payment_id)

    def _list_refunds(self, payment_id: str) -> list[ProviderRefund]:
        listed = self._refunds.list({"payment_intent": payment_id, "limit": 100}).auto_paging_iter()
        return [refund_of(refund) for _, refund in zip(range(MAX_REFUNDS), listed, strict=False)]

    def _refund(self, order: RefundOrder) -> RefundProgress:
        amount = to_stripe(order.currency, order.remaining)
        if amount is None:
            # The order is older than the rounding of refunds; RetryRefund rounds it.
            failure = f"{order.amount} {order.currency} in minor units cannot be refunded; a retry rounds it up"
            return RefundProgress(RefundState.REFUSED, failure=failure)
        params: stripe.params.RefundCreateParams = {
            "payment_intent": order.payment_id,
            "amount": amount,
            "metadata": {
                "order_id": str(order.order_id),
                "round": str(order.round),
                "purchase_id": str(order.purchase_id),
            },
        }
        # The key contains the amount: Stripe refuses a key that it has seen with other parameters.
        key = f"refund-{order.order_id}-{order.round}-{amount}"
        try:
            refund = self._refunds.create(params, {"idempotency_key": key})
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            return RefundProgress(RefundState.REFUSED, failure=error.user_message or error.code or "refused")
        return _refund_progress(refund)


def _is_repeated(error: stripe.APIError) -> bool:
    """Return whether Stripe repeats a server error that it saved under an idempotency key, as it does for a day."""
    return (error.headers or {}).get("Idempotent-Replayed") == "true"


def _pause_seconds(error: stripe.RateLimitError) -> float:
    """Return the wait before the next call; 0 if only the object of the call is locked by another call."""
    if error.error is not None and error.error.code == "lock_timeout":
        return 0
    named = (error.headers or {}).get("Retry-After", "")
    seconds = float(named) if named.isdecimal() else PAUSE_SECONDS
    # Add jitter, so that several processes do not continue together.
    return min(seconds, MAX_PAUSE_SECONDS) * random.uniform(1, 1.5)  # noqa: S311 - jitter is no secret


def _progress(intent: stripe.PaymentIntent) -> Progress:
    error = intent.last_payment_error
    # The card's decline code, if any; not every error has both.
    code = (getattr(error, "decline_code", None) or getattr(error, "code", None)) if error else None
    state = _STATES.get(intent.status, ChargeState.WAITING)
    if state is ChargeState.DECLINED:
        code = code or "no_payment_method"
    secret = None if state in _ENDED else intent.client_secret
    return Progress(state, intent.id, secret, code)


def _refund_progress(refund: stripe.Refund) -> RefundProgress:
    if refund.status == "succeeded":
        return RefundProgress(RefundState.MADE, refund.id)
    if refund.status in {"failed", "canceled"}:
        reason = getattr(refund, "failure_reason", None) or refund.status
        return RefundProgress(RefundState.REFUSED, refund.id, str(reason))
    return RefundProgress(RefundState.WAITING, refund.id)
