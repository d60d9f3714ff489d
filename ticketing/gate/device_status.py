"""The status of the device for the display: its connection, what is left to deliver, and what people should mend."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ticketing.gate.connection_status import ConnectionState, ConnectionStatus
from ticketing.gate.store import Store


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The status of the device at one moment."""

    connection: ConnectionStatus
    location: str
    # The number of decisions to deliver.
    queue_length: int
    # What does not work besides the connection; a person can mend it.
    problems: Sequence[str] = ()

    def line(self) -> str:
        """Write the status as a line for people and logs."""
        connection = self.connection
        parts = [connection.state.value]
        if connection.state is not ConnectionState.ONLINE:
            parts += [connection.problem, connection.advice]
        return "; ".join(part for part in (*parts, *self.problems) if part)

    def record(self) -> dict[str, Any]:
        """Write the status as a JSON object for programs."""
        return {
            "connection": self.connection.state.value,
            "problem": self.connection.problem,
            "advice": self.connection.advice,
            "to_deliver": self.queue_length,
            "problems": list(self.problems),
        }


class StatusReader:
    """The reader of the present status; it never fails, because the thread of the display calls it."""

    def __init__(
        self, connection: Callable[[], ConnectionStatus], location: str, store: Store, problems: Callable[[], list[str]]
    ) -> None:
        self._connection = connection
        self._location = location
        self._store = store
        self._problems = problems
        self._queue_length = 0

    def __call__(self) -> DeviceStatus:
        """Return the present status; what the disk cannot read is as before."""
        with suppress(sqlite3.Error):
            self._queue_length = self._store.queue_length()
        problems = [text for text in (self._store.problem, *self._problems()) if text]
        return DeviceStatus(self._connection(), self._location, self._queue_length, problems)
