"""The causes that the processes report on /readyz during a run, beside the answers of their calls."""

import threading
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPException
from typing import Final

from tests.environment.http_port import readiness
from tests.faults.slots import Slot

# A warning: reads go on.
FULL_DISK: Final = "database_disk"
POLL_SECONDS: Final = 0.5


class ReadinessWatch:
    """A watch of some processes; `seen` counts the answers by cause of not being ready, and those of a full disk."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.seen = Counter[str]()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(slot,), daemon=True) for slot in slots]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the watch."""
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, slot: Slot) -> None:
        while not self._ends.wait(POLL_SECONDS):
            try:
                _, body = readiness(slot.metrics_port)
            except (OSError, HTTPException, ValueError):
                # The process is down, stopped or killed.
                continue
            self.seen.update([*body["not_ready"], *(name for name in body["warnings"] if name == FULL_DISK)])
