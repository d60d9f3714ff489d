"""Publish notifications to NATS JetStream, which stores them and drops repetitions by `Nats-Msg-Id`."""

import asyncio
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from ticket_service.delivery.cloud_events import MEDIA_TYPE, cloud_event_json
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.domain.notifications import Kind

SUBJECTS: Final = "ticketing"
# The stream drops repetitions within this time: longer than any wait between two tries.
DUPLICATE_SECONDS: Final = 3_600.0
# The client must not retry, because the relay retries and stores the number of tries.
NO_RETRIES: Final[dict[str, Any]] = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0}


class NatsReceiver:
    """The receiver that publishes notifications on `ticketing.<kind>`; it creates the stream if there is none."""

    name: Final = "nats"
    kinds: Final = tuple(Kind)
    by_purchase: Final = False
    preparation_seconds: Final = 0.0

    def __init__(self, url: str, stream: str, max_parallel: int) -> None:
        self._url = url
        self._stream = stream
        self.max_parallel = max_parallel
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def deliver(self, delivery: Delivery) -> None:
        """Publish the notification; raise UndeliveredError unless the stream confirms that it is stored."""
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
                self._client = await nats.connect(self._url, error_cb=_ignore, **NO_RETRIES)
                await self._create_stream(self._client.jetstream())
            return self._client.jetstream()

    async def _create_stream(self, stream: JetStreamContext) -> None:
        try:
            await stream.stream_info(self._stream)
        except nats.js.errors.NotFoundError:
            subjects = [f"{SUBJECTS}.>"]
            config = StreamConfig(name=self._stream, subjects=subjects, duplicate_window=DUPLICATE_SECONDS)
            await stream.add_stream(config)


async def _ignore(_error: Exception) -> None:
    """Ignore an error that the client reports, because `publish` raises it too."""
