"""A stand-in for Stripe: a real socket, the published rules, and what Stripe does behind the service's back.

Tests read charges and refunds here, by the ids of the service, independently of the tables of the service. Every amount
is what Stripe counts in: 5,900 ISK are 590,000.
"""

from tests.stand_ins.stripe.account import CARD, DECLINED, PROCESSING, SECURE, UNKNOWN
from tests.stand_ins.stripe.server import KEY, StripeStandIn
from tests.stand_ins.stripe.webhooks import SIGNING_SECRET, signed

__all__ = [
    "CARD",
    "DECLINED",
    "KEY",
    "PROCESSING",
    "SECURE",
    "SIGNING_SECRET",
    "UNKNOWN",
    "StripeStandIn",
    "signed",
]
