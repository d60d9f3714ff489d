"""Notifications to a webhook, signed as Standard Webhooks says: over id, time and body, so that none can be altered.

The id is the notification's, so a delivery that is repeated, by us or by somebody who recorded it, is recognisable; the
time is the attempt's, so receivers may refuse what is old.
"""

import base64
import hashlib
import hmac
from typing import Final

import httpx

from ticket_service.delivery.cloud_events import MEDIA_TYPE, cloud_event_json
from ticket_service.domain.notifications import Delivery, Kind, UndeliveredError
from ticketing.chassis.clock import Clock

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a format's name, no secret


class Webhook:
    """Posts notifications to one URL.

    Args:
        url: where to.
        secret: "whsec_" and the key in Base64.
        clock: the present time.
    """

    name: Final = "webhook"
    kinds: Final = tuple(Kind)
    by_purchase: Final = False
    at_once: Final = 16

    def __init__(self, url: str, secret: str, clock: Clock) -> None:
        self._url = url
        self._key = signing_key(secret)
        self._clock = clock
        # The relay's deadline is over all of it; httpx has one for each step alone.
        self._client = httpx.AsyncClient(timeout=None, trust_env=False, follow_redirects=False)  # noqa: S113 - see above

    async def deliver(self, delivery: Delivery) -> None:
        """Post it; every answer but 2xx is tried again.

        Raises:
            UndeliveredError: it was not taken.
        """
        body = cloud_event_json(delivery)
        headers = self._headers(str(delivery.notification_id), body)
        try:
            answer = await self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise UndeliveredError(f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise UndeliveredError(f"HTTP {answer.status_code}")

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock().timestamp()))
        signed = f"{message_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        return {
            "content-type": MEDIA_TYPE,
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }


def signing_key(secret: str) -> bytes:
    """Read the key from a secret.

    Raises:
        ValueError: it is not "whsec_" and Base64.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"does not begin with {SECRET_PREFIX}")
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
