"""The interface of a payment provider, and its registration.

Each provider that an operator can configure has a package in `adapters` and an entry in `adapters.providers.PROVIDERS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ticket_service.domain.findings import ProviderPayment
from ticket_service.domain.looks import Listing
from ticket_service.domain.payments import Charge, Progress, RefundProgress
from ticket_service.domain.provider_rules import ProviderRules
from ticket_service.domain.reconciliation import ProviderRecords, ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder
from ticketing.chassis.settings import Environment


class PaymentProvider(Protocol):
    """A payment system that charges buyers and refunds payments.

    Its methods raise DEPENDENCY_UNAVAILABLE if the state is not known; the service then repeats the call.
    """

    async def advance(self, charge: Charge) -> Progress:
        """Take the next step of a charge; return its state."""

    async def withdraw(self, charge: Charge) -> Progress:
        """Withdraw a charge; return WITHDRAWN, or PAID if the provider has captured the money already."""

    async def refund(self, order: RefundOrder) -> RefundProgress:
        """Make a refund; before each call, the caller looks for refunds of the order in `list_refunds`."""

    async def list_refunds(self, payment_id: str) -> Sequence[ProviderRefund]:
        """List all refunds of a payment, whoever made them."""

    async def close(self) -> None:
        """Close open connections."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of a listing: parts of the records of some payments."""

    payments: tuple[ProviderPayment, ...]
    # The id of the last record, after which the next page begins; None: this is the last page.
    after: str | None


class ProviderHistory(Protocol):
    """The records of a provider, for the reconciler.

    Its methods raise DEPENDENCY_UNAVAILABLE if the provider does not answer.
    """

    async def page(self, listing: Listing, since: datetime, after: str | None) -> HistoryPage:
        """Read a page of the records that were created at or after `since`, newest first."""

    async def payment(self, payment_id: str) -> ProviderPayment | None:
        """Read everything about one payment; None: the provider has no payment with this id."""

    async def close(self) -> None:
        """Close open connections."""


class WebhookParser(Protocol):
    """A function that verifies and reads an event that the provider sends."""

    def __call__(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Return the id of the payment that the event is about; None: the event is about no payment.

        The names of `headers` are in lower case.

        Raises:
            Failure: UNAUTHENTICATED: the signature is missing, wrong or too old; INVALID_ARGUMENT.
        """


# The configured providers and EXTERNAL, by name.
Providers = Mapping[str, PaymentProvider]


class ProviderSettings(Protocol):
    """The settings of a configured provider."""

    def connect(self) -> PaymentProvider:
        """Return a client that charges and refunds."""

    @property
    def takes_webhooks(self) -> bool:
        """Return whether a secret is configured with which the provider signs its events."""

    def history(self) -> ProviderHistory | None:
        """Return a reader of the provider's records; None: the provider offers none."""

    def webhook_parser(self) -> WebhookParser:
        """Return the parser of the provider's events."""

    def read_records(self) -> ProviderRecords:
        """List the payments and refunds for the audit; raise DEPENDENCY_UNAVAILABLE if the provider does not answer."""


@dataclass(frozen=True, slots=True)
class ProviderRegistration:
    """A payment provider that an operator can configure."""

    # The database stores the name with purchases, payments and refunds, so it must never change.
    name: str
    # The function returns None if the provider is not configured.
    read_settings: Callable[[Environment], ProviderSettings | None]
    # The function returns whether the provider charges a payment_method_id.
    is_payment_method: Callable[[str], bool]
    # The amounts that the provider charges and refunds.
    rules: ProviderRules
