"""The environment variables of gRPC, which it reads when it is imported: `docs/decisions/0053-the-poller-of-calls.md`."""

import os
from collections.abc import Mapping
from typing import Final

VARIABLES: Final[Mapping[str, str]] = {
    # Its lines are no JSON, and every failed handshake of a stranger is one.
    "GRPC_VERBOSITY": "NONE",
    # The thread that hands calls to the event loop reads their connections itself, without a switch to another thread.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
}


def set_grpc_variables() -> None:
    """Set the variables that the environment lacks."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
