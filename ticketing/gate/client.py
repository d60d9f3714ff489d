"""The client of the scan service: its channels, the device's credential, and its gate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from ticketing.client.channel_options import CHANNEL_OPTIONS
from ticketing.gate.credential import Credential
from ticketing.scans.v1 import scan_pb2

GATE_CHANNEL_OPTIONS: Final[Sequence[tuple[str, object]]] = (
    *CHANNEL_OPTIONS,
    # Otherwise gRPC gives a new channel the connection of the one that it replaces.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class ScanServiceClient:
    """The scan service as this device calls it: each thread opens a channel of its own."""

    open_channel: Callable[[], grpc.Channel]
    credential: Credential
    gate: scan_pb2.Gate
