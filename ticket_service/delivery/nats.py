"""Notifications to NATS JetStream, which drops what comes twice by `Nats-Msg-Id`, and keeps it until it is read."""

import asyncio
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from ticket_service.delivery.cloud_events import MEDIA_TYPE, cloud_event_json
from ticket_service.domain.notifications import Delivery, Kind, UndeliveredError

SUBJECTS: Final = "ticketing"
# How long the stream knows an id again: longer than any wait between two tries.
DUPLICATE_SECONDS: Final = 3_600.0
# The client would wait and try again by itself; the relay does that, and stores how often.
AT_ONCE: Final[dict[str, Any]] = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0}


class JetStream:
    """Publishes notifications on `ticketing.<kind>`.

    Args:
        url: of the server.
        stream: where they are kept; made where it is missing.
    """

    name: Final = "nats"
    kinds: Final = tuple(Kind)
    by_purchase: Final = False
    at_once: Final = 64

    def __init__(self, url: str, stream: str) -> None:
        self._url = url
        self._stream = stream
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def deliver(self, delivery: Delivery) -> None:
        """Publish it, and wait until the stream has it.

        Raises:
            UndeliveredError: it is not known whether it has.
        """
        headers = {"Nats-Msg-Id": str(delivery.notification_id), "content-type": MEDIA_TYPE}
        subject = f"{SUBJECTS}.{delivery.notification.kind}"
        try:
            stream = await self._connected()
            await stream.publish(subject, cloud_event_json(delivery), stream=self._stream, headers=headers)
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise UndeliveredError(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> JetStreamContext:
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self.close()
                self._client = await nats.connect(self._url, error_cb=_ignore, **AT_ONCE)
                await self._make_stream(self._client.jetstream())
            return self._client.jetstream()

    async def _make_stream(self, stream: JetStreamContext) -> None:
        try:
            await stream.stream_info(self._stream)
        except nats.js.errors.NotFoundError:
            subjects = [f"{SUBJECTS}.>"]
            await stream.add_stream(
                StreamConfig(name=self._stream, subjects=subjects, duplicate_window=DUPLICATE_SECONDS)
            )


async def _ignore(_error: Exception) -> None:
    """Take what the client says by the way: whoever publishes is told too."""
