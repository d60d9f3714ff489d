"""Verify and read the events that Stripe sends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import stripe

from ticketing.chassis.failures import invalid, unauthenticated

# Stripe signs each delivery anew, also a repeated one. An older signature may be a recorded one.
TOLERANCE_SECONDS: Final = 300
# The types of events that may change what is recorded here; others are ignored.
_PREFIXES: Final = ("charge.dispute.", "charge.refund", "refund.", "payment_intent.succeeded")


class StripeWebhooks:
    """The parser of one endpoint's events; while a secret is rotated, each of `secrets` verifies."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    def __call__(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Return the id of the PaymentIntent that an event is about; None: the event does not matter here.

        Raises:
            Failure: UNAUTHENTICATED or INVALID_ARGUMENT.
        """
        self._verify(headers.get("stripe-signature"), body)
        try:
            event: Any = json.loads(body)
            kind, changed = event["type"], event["data"]["object"]
            if not kind.startswith(_PREFIXES):
                return None
            payment_id = changed["id"] if changed["object"] == "payment_intent" else changed.get("payment_intent")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise invalid("body", "is not an event of Stripe") from error
        return payment_id if isinstance(payment_id, str) and payment_id else None

    def _verify(self, signature: str | None, body: bytes) -> None:
        cause = "the signature is missing"
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS)
            except stripe.SignatureVerificationError as error:
                cause = error.user_message or str(error)
            except UnicodeDecodeError as error:
                raise invalid("body", "is not UTF-8") from error
            else:
                return
        raise unauthenticated(cause)
