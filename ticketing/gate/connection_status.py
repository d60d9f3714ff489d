"""The status of the connection to the scan service, for the program and for the display."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# A device whose credential the service refused shows this text, also as the note of each answer.
REFUSED_NOTE: Final = "this device may not scan (any more)"


class ConnectionState(StrEnum):
    """The states of the connection."""

    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    REFUSED = "REFUSED"


# In these states, the device expects no answer of the service.
UNREACHABLE: Final = frozenset({ConnectionState.OFFLINE, ConnectionState.REFUSED})


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """The state of the connection, with its event and the reason why it is not open."""

    state: ConnectionState = ConnectionState.CONNECTING
    event_name: str = ""
    # The reason, for people; empty while the connection is open.
    problem: str = ""
    # The advice to a person after a refusal.
    advice: str = ""
