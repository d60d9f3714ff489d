"""The way to the other service: one channel, a deadline on every call, our credential and the request id with it."""

from typing import Final

import grpc.aio

from chassis.calls import REQUEST_ID_KEY
from chassis.ids import new_id
from chassis.logs import REQUEST_ID

# Long enough for a commit at the other side, short enough for a caller who waits for us.
CALL_SECONDS: Final = 2.0

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 5_000),
    # A black-holed connection ended after 6.8 s with this and after 64.8 s without.
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class Peer:
    """The other service.

    Args:
        address: its `host:port`.
        secret: what makes us its peer.
    """

    def __init__(self, address: str, secret: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._authorization = ("authorization", f"Bearer {secret}")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call: who we are, and which request it is for."""
        return (self._authorization, (REQUEST_ID_KEY, REQUEST_ID.get() or str(new_id())))

    async def close(self) -> None:
        """Close the channel."""
        await self.channel.close()
