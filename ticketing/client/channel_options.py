"""The options of every channel that stays open: a client or a gate device to a service, a service to the other one."""

from collections.abc import Sequence
from typing import Final

MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024

CHANNEL_OPTIONS: Final[Sequence[tuple[str, int]]] = (
    # The channel notices a dead connection after the sum of these two, 7 s: a black-holed one ended after 6.8 s with the
    # ping timeout and after 64.8 s without it. `keepalive_timeout_ms` has no effect in the C core.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Despite its name this is the time limit of one attempt to connect, TLS handshake included. With 200 ms the channel
    # gave up on slow networks and busy machines before they answered.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
)
