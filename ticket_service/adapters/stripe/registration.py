"""Register Stripe: its settings, and the payment methods that it charges.

The modules that import Stripe's library take about 0.75 s to load, so only a process with a key loads them.
"""

from dataclasses import dataclass, field
from typing import Final

from ticket_service.adapters.payment_provider import PaymentProvider, ProviderRegistration
from ticket_service.adapters.stripe.amounts import RULES
from ticket_service.domain.reconciliation import ProviderRecords
from ticketing.chassis.settings import Environment


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The account of Stripe that charges and refunds."""

    # The secret key; repr() omits it, so that no log contains it.
    key: str = field(repr=False)
    api_base: str

    def connect(self) -> PaymentProvider:
        """Return a client that charges and refunds."""
        from ticket_service.adapters.stripe.payments import StripePayments  # noqa: PLC0415 - see above

        return StripePayments(self.key, self.api_base)

    def read_records(self) -> ProviderRecords:
        """List the payments and refunds of the account."""
        from ticket_service.adapters.stripe.records import read_records  # noqa: PLC0415 - see above

        return read_records(self.key, self.api_base)


def read_stripe_settings(environment: Environment) -> StripeSettings | None:
    """Read the settings; None without a key."""
    key = environment.optional("TICKETS_STRIPE_KEY")
    api_base = environment.text("TICKETS_STRIPE_API_BASE", "https://api.stripe.com")
    return None if key is None else StripeSettings(key, api_base)


def is_stripe_payment_method(payment_method: str) -> bool:
    """Return True: Stripe charges every payment method that no provider before it charges, and declines unknown ones."""
    return bool(payment_method)


STRIPE: Final = ProviderRegistration("stripe", read_stripe_settings, is_stripe_payment_method, RULES)
