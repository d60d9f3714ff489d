"""The client side of calls to the other service: channel, credential, request id, deadline."""

import logging
from time import perf_counter
from typing import Any, Final

import grpc.aio

from ticketing.chassis import tracing
from ticketing.chassis.ids import new_id
from ticketing.chassis.interceptor import REQUEST_ID_KEY
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.tls import PLAIN, Tls
from ticketing.chassis.waits import FACTS
from ticketing.client.channel_options import CHANNEL_OPTIONS

log = logging.getLogger(__name__)

# This deadline allows for a commit of the other service, and it bounds the wait of the caller.
CALL_SECONDS: Final = 2.0


class _RecordedCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Counts each call as a wait of the call that makes it, and passes the trace on; streams are not intercepted."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call, and return once it has ended."""
        method = client_call_details.method
        name = (method.decode() if isinstance(method, bytes) else method).strip("/")
        begin = perf_counter()
        try:
            with tracing.peer_call(name, client_call_details.metadata):
                call = await continuation(client_call_details, request)
                await call.code()
        finally:
            if (facts := FACTS.get()) is not None:
                facts.add(name, perf_counter() - begin)
        return call


class PeerClient:
    """A channel to the other service at `host:port`, and the metadata of calls on it.

    With an empty `secret` the certificate proves this service. A renewed certificate is used from the next call on.
    """

    def __init__(self, address: str, secret: str, tls: Tls = PLAIN) -> None:
        self._address = address
        self._tls = tls
        self._authorization = (("authorization", f"Bearer {secret}"),) if secret else ()
        self._file_state = tls.file_state()
        # Channels with old certificates stay open: closing one would cancel the streams that still run on it.
        self._channels = [self._open()]

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel with the present certificates."""
        try:
            if (state := self._tls.file_state()) != self._file_state:
                self._channels.append(self._open())
                self._file_state = state
        except (OSError, ValueError) as error:
            # The background task reports the fault once, and not for every call.
            log.debug("the new certificates cannot be used; the old ones stay", extra={"error": str(error)})
        return self._channels[-1]

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call: the credential and the request id."""
        return (*self._authorization, (REQUEST_ID_KEY, REQUEST_ID.get() or str(new_id())))

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        credentials, recorded = self._tls.channel_credentials(), [_RecordedCalls()]
        if credentials is None:
            return grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS, interceptors=recorded)
        return grpc.aio.secure_channel(self._address, credentials, options=CHANNEL_OPTIONS, interceptors=recorded)
