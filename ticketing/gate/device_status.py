"""The status of the device for the display: its connection, what is left to deliver, and what people should mend."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from ticketing.admission.scans import Gate
from ticketing.gate.admission_store import ReplicaState
from ticketing.gate.connection_status import ConnectionState, ConnectionStatus
from ticketing.gate.device_clock import CLOCK_UNKNOWN, DeviceClock
from ticketing.gate.store import Store

_UNITS: Final = ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min"))


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The status of the device at one moment."""

    connection: ConnectionStatus
    location: str
    # The number of decisions to deliver.
    queue_length: int
    replica: ReplicaState = field(default_factory=ReplicaState)
    # The time since the replica had all changes; None: unknown, as after an update from an older version.
    replica_age: timedelta | None = None
    # Faults besides the connection that a person can mend.
    problems: Sequence[str] = ()

    def line(self) -> str:
        """Write the status as a line for people and logs."""
        connection = self.connection
        parts = [connection.state.value]
        if connection.state is not ConnectionState.ONLINE:
            parts += [connection.problem, connection.advice]
        parts += ["offline ready" if self.replica.is_complete else "not ready for offline", *self.problems]
        return "; ".join(part for part in parts if part)

    def replica_text(self) -> str:
        """Write in a few words whether the device can decide offline."""
        if not self.replica.is_complete:
            loaded = f": {self.replica.loaded:,} tickets so far" if self.replica.loaded else ""
            return f"not ready for offline{loaded}"
        return "offline ready" if self.replica_age is None else f"offline ready, {_age_text(self.replica_age)} old"

    def record(self) -> dict[str, Any]:
        """Write the status as a JSON object for programs."""
        return {
            "connection": self.connection.state.value,
            "problem": self.connection.problem,
            "advice": self.connection.advice,
            "to_deliver": self.queue_length,
            "ready_for_offline": self.replica.is_complete,
            "replica_age_seconds": None if self.replica_age is None else int(self.replica_age.total_seconds()),
            "problems": list(self.problems),
        }


class StatusReader:
    """The reader of the present status; it never fails, because the thread of the display calls it."""

    def __init__(
        self,
        gate: Gate,
        store: Store,
        clock: DeviceClock,
        connection: Callable[[], ConnectionStatus],
        problems: Callable[[], list[str]] = list,
    ) -> None:
        self._gate = gate
        self._store = store
        self._clock = clock
        self._connection = connection
        self._problems = problems
        self._queue_length = 0
        self._replica = ReplicaState()

    def __call__(self) -> DeviceStatus:
        """Return the present status; what the disk cannot read is as before."""
        with suppress(sqlite3.Error):
            self._queue_length = self._store.queue_length()
            self._replica = self._store.replica_state(self._gate.event_id)
        unknown = "" if self._clock.is_known else CLOCK_UNKNOWN
        confirmed = self._replica.confirm_time
        return DeviceStatus(
            connection=self._connection(),
            location=self._gate.location,
            queue_length=self._queue_length,
            replica=self._replica,
            replica_age=None if confirmed is None else max(timedelta(), self._clock() - confirmed),
            problems=[text for text in (self._store.problem, unknown, *self._problems()) if text],
        )


def _age_text(age: timedelta) -> str:
    for unit, name in _UNITS:
        if age >= unit:
            return f"{age // unit} {name}"
    return f"{age // timedelta(seconds=1)} s"
