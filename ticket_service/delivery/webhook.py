"""Post notifications to a webhook, signed over id, time and body as Standard Webhooks specifies.

The id is the notification id, so receivers recognise a repeated or replayed delivery. The time is the time of the try,
so receivers can reject old deliveries.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpx

from ticket_service.delivery.cloud_events import MEDIA_TYPE, cloud_event_json
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.domain.notifications import Kind
from ticketing.chassis.clock import Clock

# The statuses whose Retry-After is kept, at most for this time: a mistyped header must not stop the delivery for years.
DELAYING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
MAX_RETRY_AFTER: Final = timedelta(hours=1)
MAX_DIGITS: Final = 10
# An answer is read up to this size, so that its connection can be used again; a longer one costs the connection.
MAX_ANSWER_BYTES: Final = 65_536
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the name of a format, not a secret


class WebhookReceiver:
    """The receiver that posts notifications to one URL.

    Args:
        url: the address; the receiver follows no redirect, because another host would get the notification.
        secret: "whsec_" and the key in Base64.
        max_parallel: how many posts wait for their answers at the same time.
        clock: the time of the signature.
    """

    name: Final = "webhook"
    kinds: Final = tuple(Kind)
    by_purchase: Final = False
    preparation_seconds: Final = 0.0

    def __init__(self, url: str, secret: str, max_parallel: int, clock: Clock) -> None:
        self._url = url
        self._key = signing_key(secret)
        self.max_parallel = max_parallel
        self._clock = clock
        limits = httpx.Limits(max_connections=max_parallel, max_keepalive_connections=max_parallel)
        # The relay limits the whole delivery; a timeout of httpx limits only each step.
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, follow_redirects=False)  # noqa: S113 - see above

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
            async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                await _drain(answer)
        except httpx.HTTPError as error:
            raise UndeliveredError(f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise self._refused(answer)

    def _refused(self, answer: httpx.Response) -> UndeliveredError:
        message = f"HTTP {answer.status_code}"
        if answer.is_redirect:
            # The location is not stored: it may contain a secret.
            return UndeliveredError(
                f"{message}: redirects are not followed; set TICKETS_WEBHOOK_URL to the new address"
            )
        retry_after = None
        if answer.status_code in DELAYING:
            retry_after = parse_retry_after(answer.headers.get("retry-after", ""), self._clock())
        return UndeliveredError(message, is_gone=answer.status_code == HTTPStatus.GONE, retry_after=retry_after)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def signing_key(secret: str) -> bytes:
    """Decode the key of a secret; raise ValueError if it is not "whsec_" and Base64."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"does not begin with {SECRET_PREFIX}")
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """Return the wait that a Retry-After header asks for, in seconds or as a date, or None if it asks for none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        # int() refuses very long numbers, and timedelta large ones.
        wait = timedelta(seconds=int(text)) if len(text) < MAX_DIGITS else MAX_RETRY_AFTER
    else:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        wait = (until if until.tzinfo is not None else until.replace(tzinfo=UTC)) - now
    return min(wait, MAX_RETRY_AFTER) if wait > timedelta(0) else None


async def _drain(answer: httpx.Response) -> None:
    """Read the body up to MAX_ANSWER_BYTES."""
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            return
