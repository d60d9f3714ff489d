"""How a test waits for what another thread or process brings about."""

from collections.abc import Callable
from time import monotonic, sleep


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return once `condition` holds; fail when it does not within `seconds`."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "still not"
        sleep(0.01)
