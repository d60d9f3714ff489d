"""The network between two programs, which the nemesis cuts, delays and turns into a black hole."""

import threading
import time

from tests.environment.proxy import Proxy


class Link(Proxy):
    """A way from one program to another; in its first state it delivers everything at once."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.delay_seconds = 0.0
        # Answers vanish, so the caller does not know whether its request was done.
        self.loses_answers = False
        self._is_cut = False
        self._flows = threading.Event()
        self._flows.set()
        super().__init__(target)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def refuse(self) -> None:
        """End every connection, and each new one at its first bytes."""
        self._is_cut = True
        self.cut_connections()

    def swallow(self) -> None:
        """Accept connections and bytes, and deliver nothing until `heal`."""
        self._flows.clear()

    def heal(self) -> None:
        """Deliver again; connections whose bytes were lost end."""
        broken = self.loses_answers
        self.delay_seconds, self.loses_answers, self._is_cut = 0.0, False, False
        self._flows.set()
        if broken:
            self.cut_connections()

    def close(self) -> None:
        """End every connection for good."""
        self.heal()
        self.cut()

    def _is_delivered(self, *, is_answer: bool) -> bool:
        if self._is_cut:
            # The connection ends as that of a peer whose cable is cut and plugged in again: with a reset.
            raise ConnectionResetError
        if self.delay_seconds:
            time.sleep(self.delay_seconds)  # The delay is the fault under test.
        self._flows.wait()
        return not (is_answer and self.loses_answers)
