"""Post notifications to a webhook, signed over id, time and body as Standard Webhooks specifies.

The id is the notification id, so receivers recognise a repeated or replayed delivery. The time is the time of the try,
so receivers can reject old deliveries.
"""

import base64
import hashlib
import hmac
from typing import Final

import httpx

from ticket_service.delivery.cloud_events import MEDIA_TYPE, cloud_event_json
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.domain.notifications import Kind
from ticketing.chassis.clock import Clock

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the name of a format, not a secret


class WebhookReceiver:
    """The receiver that posts notifications to one URL; `secret` is "whsec_" and the key in Base64."""

    name: Final = "webhook"
    kinds: Final = tuple(Kind)
    by_purchase: Final = False
    max_parallel: Final = 16

    def __init__(self, url: str, secret: str, clock: Clock) -> None:
        self._url = url
        self._key = signing_key(secret)
        self._clock = clock
        # The relay limits the whole delivery; a timeout of httpx limits only each step.
        self._client = httpx.AsyncClient(timeout=None, trust_env=False, follow_redirects=False)  # noqa: S113 - see above

    async def deliver(self, delivery: Delivery) -> None:
        """Post the notification; raise UndeliveredError if the answer is lost or not 2xx."""
        body = cloud_event_json(delivery)
        message_id, timestamp = str(delivery.notification_id), str(int(self._clock().timestamp()))
        signed = f"{message_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        headers = {
            "content-type": MEDIA_TYPE,
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            answer = await self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise UndeliveredError(f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise UndeliveredError(f"HTTP {answer.status_code}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def signing_key(secret: str) -> bytes:
    """Decode the key of a secret; raise ValueError if it is not "whsec_" and Base64."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"does not begin with {SECRET_PREFIX}")
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
