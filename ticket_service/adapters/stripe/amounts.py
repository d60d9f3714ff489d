"""Convert amounts to the units in which Stripe counts, and state which amounts it charges.

Source: docs.stripe.com/currencies, read in 2026-11: the zero-decimal currencies, the special cases ISK and UGX, the
minimum and maximum amounts; the three-decimal currencies stand in its version of 2022 only. The supported currencies
are those that Stripe's API names when it refuses another one, and XCG, which replaced ANG. Of the codes of ISO 4217,
Stripe counts ISK, UGX and MGA in another unit.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from ticket_service.domain.currencies import CURRENCIES
from ticket_service.domain.provider_rules import CurrencyRule, ProviderRules

_UNSUPPORTED: Final = "CUP ERN IQD IRR KPW LYD MRU SDG SSP STN SYP TMT VED VES ZWG"
# Stripe's units in one minor unit of ISO 4217, where they differ: ISK and UGX have hundredths that are always 00, and MGA
# has no decimals.
_UNITS: Final[Mapping[str, Fraction]] = {"ISK": Fraction(100), "UGX": Fraction(100), "MGA": Fraction(1, 100)}
# The last digit must be 0.
_THREE_DECIMALS: Final = "BHD JOD KWD OMR TND"
# In minor units. Stripe compares with the minimum of the currency in which it pays the account out, after a conversion;
# the minimum of the charged currency itself is what can be known here.
_MINIMUM: Final[Mapping[str, int]] = {
    "USD": 50,
    "AED": 200,
    "ARS": 50,
    "AUD": 50,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "COP": 50,
    "CZK": 1_500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17_500,
    "IDR": 50,
    "ILS": 50,
    "INR": 50,
    "JPY": 50,
    "KRW": 50,
    "MXN": 1_000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PHP": 50,
    "PLN": 200,
    "RON": 200,
    "RUB": 50,
    "SEK": 300,
    "SGD": 50,
    "THB": 1_000,
    "ZAR": 50,
}
# Twelve digits in Stripe's unit; a card network may have a lower maximum.
_MAXIMUM: Final = 999_999_999_999


def to_stripe(currency: str, amount: int) -> int | None:
    """Return an amount in Stripe's unit; None if Stripe neither charges nor refunds it."""
    return None if amount % RULES.step(currency) else int(amount * _unit(currency))


def from_stripe(currency: str, amount: int) -> int:
    """Return the minor units of an amount at Stripe."""
    return round(amount / _unit(currency))


def _unit(currency: str) -> Fraction:
    return _UNITS.get(currency, Fraction(1))


def _rule(currency: str) -> CurrencyRule:
    step = 10 if currency in _THREE_DECIMALS.split() else _unit(currency).denominator
    return CurrencyRule(step, max(_MINIMUM.get(currency, 1), step), int(_MAXIMUM / _unit(currency)))


RULES: Final = ProviderRules({code: _rule(code) for code in CURRENCIES if code not in _UNSUPPORTED.split()})
