"""The way to the other service: one channel, a deadline on every call, our credential and the request id with it."""

import logging
from typing import Final

import grpc.aio

from ticketing.chassis.ids import new_id
from ticketing.chassis.interceptor import REQUEST_ID_KEY
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.tls import PLAIN, Tls

log = logging.getLogger(__name__)

# Long enough for a commit at the other side, short enough for a caller who waits for us.
CALL_SECONDS: Final = 2.0

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 5_000),
    # A black-holed connection ended after 6.8 s with this and after 64.8 s without.
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # No pause, whatever its name says: how long an attempt may take, its TLS handshake included. With 200 a slow network, or
    # a busy machine, was given up before it had answered.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class PeerClient:
    """The other service.

    Args:
        address: its `host:port`.
        secret: what makes us its peer; empty: our certificate does.
        tls: how it is called; a certificate that is renewed is shown from the next call on.
    """

    def __init__(self, address: str, secret: str, tls: Tls = PLAIN) -> None:
        self._address = address
        self._tls = tls
        self._authorization = (("authorization", f"Bearer {secret}"),) if secret else ()
        self._state = tls.state()
        # Those before the last are kept to the end: to close one would cancel the stream that still runs on it.
        self._channels = [self._open()]

    @property
    def channel(self) -> grpc.aio.Channel:
        """The way there, by the certificates as they now are."""
        try:
            if (state := self._tls.state()) != self._state:
                self._channels.append(self._open())
                self._state = state
        except (OSError, ValueError) as error:
            log.warning("the new certificates cannot be used; the old ones stay", extra={"error": str(error)})
        return self._channels[-1]

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call: who we are, and which request it is for."""
        return (*self._authorization, (REQUEST_ID_KEY, REQUEST_ID.get() or str(new_id())))

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        credentials = self._tls.channel_credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self._address, options=OPTIONS)
        return grpc.aio.secure_channel(self._address, credentials, options=OPTIONS)
