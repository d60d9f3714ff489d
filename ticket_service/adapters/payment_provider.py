"""The interface of a payment provider, and its registration.

Each provider that an operator can configure has a package in `adapters` and an entry in `adapters.providers.PROVIDERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ticket_service.domain.payments import Charge, Progress, RefundProgress
from ticket_service.domain.provider_rules import ProviderRules
from ticket_service.domain.reconciliation import ProviderRecords
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
        """Make a refund; repeated calls for an order make one refund."""

    async def close(self) -> None:
        """Close open connections."""


# The configured providers and EXTERNAL, by name.
Providers = Mapping[str, PaymentProvider]


class ProviderSettings(Protocol):
    """The settings of a configured provider."""

    def connect(self) -> PaymentProvider:
        """Return a client that charges and refunds."""

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
