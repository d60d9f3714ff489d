"""Register Stripe: its settings, and the payment methods that it charges.

The modules that import Stripe's library take about 0.75 s to load, so only a process with a key loads them.
"""

from dataclasses import dataclass, field
from typing import Final

from ticket_service.adapters.payment_provider import (
    PaymentProvider,
    ProviderHistory,
    ProviderRegistration,
    WebhookParser,
)
from ticket_service.adapters.stripe.amounts import RULES
from ticket_service.domain.reconciliation import ProviderRecords
from ticketing.chassis.settings import Environment


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """The account of Stripe that charges and refunds."""

    # The secret key; repr() omits it, so that no log contains it.
    key: str = field(repr=False)
    api_base: str
    # The secrets that sign events; more than one while a secret is rotated.
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def takes_webhooks(self) -> bool:
        """Return whether a secret is configured that signs events."""
        return bool(self.webhook_secrets)

    def connect(self) -> PaymentProvider:
        """Return a client that charges and refunds."""
        from ticket_service.adapters.stripe.payments import StripePayments  # noqa: PLC0415 - see above

        return StripePayments(self.key, self.api_base)

    def history(self) -> ProviderHistory | None:
        """Return a reader of the account's records."""
        from ticket_service.adapters.stripe.history import StripeHistory  # noqa: PLC0415 - see above

        return StripeHistory(self.key, self.api_base)

    def webhook_parser(self) -> WebhookParser:
        """Return the parser of the account's events."""
        from ticket_service.adapters.stripe.webhooks import StripeWebhooks  # noqa: PLC0415 - see above

        return StripeWebhooks(self.webhook_secrets)

    def read_records(self) -> ProviderRecords:
        """List the payments and refunds of the account."""
        from ticket_service.adapters.stripe.records import read_records  # noqa: PLC0415 - see above

        return read_records(self.key, self.api_base)


def read_stripe_settings(environment: Environment) -> StripeSettings | None:
    """Read the settings; None without a key."""
    key = environment.optional("TICKETS_STRIPE_KEY")
    api_base = environment.text("TICKETS_STRIPE_API_BASE", "https://api.stripe.com")
    secrets = (environment.optional("TICKETS_STRIPE_WEBHOOK_SECRETS") or "").split(",")
    webhook_secrets = tuple(secret.strip() for secret in secrets if secret.strip())
    if any(not secret.startswith("whsec_") for secret in webhook_secrets):
        environment.fault("TICKETS_STRIPE_WEBHOOK_SECRETS", "contains a secret that does not begin with whsec_")
    return None if key is None else StripeSettings(key, api_base, webhook_secrets)


def is_stripe_payment_method(payment_method: str) -> bool:
    """Return True: Stripe charges every payment method that no provider before it charges, and declines unknown ones."""
    return bool(payment_method)


STRIPE: Final = ProviderRegistration("stripe", read_stripe_settings, is_stripe_payment_method, RULES)
