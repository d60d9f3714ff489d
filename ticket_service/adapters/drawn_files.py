"""A cache of drawn files, bounded in bytes and in age: a buyer who asks again and again is answered from memory."""

import time
from collections import OrderedDict
from collections.abc import Callable


class DrawnFiles:
    """The files used last, up to `max_bytes` in sum, each for up to `max_seconds` after it was drawn."""

    def __init__(self, max_bytes: int, max_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._bytes = 0
        # The file, and the time until which it may be used.
        self._files = OrderedDict[bytes, tuple[bytes, float]]()

    def get(self, key: bytes) -> bytes | None:
        """Return the file with this key, or None."""
        content, until = self._files.get(key, (None, 0.0))
        if content is None:
            return None
        if self._clock() > until:
            self._remove(key)
            return None
        self._files.move_to_end(key)
        return content

    def put(self, key: bytes, content: bytes) -> None:
        """Keep a file, and drop the files that were unused for longest beyond the bound."""
        if key in self._files:
            self._remove(key)
        if len(content) > self._max_bytes:
            return
        self._files[key] = (content, self._clock() + self._max_seconds)
        self._bytes += len(content)
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._files)))

    def _remove(self, key: bytes) -> None:
        content, _ = self._files.pop(key)
        self._bytes -= len(content)
