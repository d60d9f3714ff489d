"""The payment providers that an operator can configure."""

from typing import Final

from ticket_service.adapters.payment_provider import ProviderRegistration, ProviderSettings
from ticket_service.adapters.stripe.registration import STRIPE
from ticket_service.domain.provider_rules import RulesByProvider
from ticketing.chassis.settings import Environment

# The first provider that accepts a payment method charges it. Stripe accepts any, so it is last.
PROVIDERS: Final[tuple[ProviderRegistration, ...]] = (STRIPE,)
# The rules of all providers, configured or not: a refund may wait for the settings of its provider to return.
RULES: Final[RulesByProvider] = {provider.name: provider.rules for provider in PROVIDERS}


def read_provider_settings(environment: Environment) -> dict[str, ProviderSettings]:
    """Read the settings of the configured providers, by name."""
    settings = {provider.name: provider.read_settings(environment) for provider in PROVIDERS}
    return {name: configured for name, configured in settings.items() if configured is not None}


def provider_of(payment_method: str) -> str:
    """Return the name of the provider that charges a payment method, configured or not."""
    return next(provider.name for provider in PROVIDERS if provider.is_payment_method(payment_method))
