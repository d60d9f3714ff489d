"""Signed webhooks: a test delivers them in any order, any number of times, to any receiver."""

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Final

from tests.stand_ins.stripe.refusals import Json

SIGNING_SECRET: Final = "whsec_of_the_tests"


def signed(event: Json, now: datetime, secret: str = SIGNING_SECRET) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a delivery."""
    body = json.dumps(event, indent=2).encode()
    time = int(now.timestamp())
    signature = hmac.new(secret.encode(), f"{time}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={time},v1={signature}"}
    return body, headers


def deliver(url: str, event: Json, now: datetime, secret: str = SIGNING_SECRET) -> int:
    """Post an event to a receiver; return the status of the answer."""
    body, headers = signed(event, now, secret)
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - a receiver of the tests
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - as above
            status: int = answer.status
            return status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
