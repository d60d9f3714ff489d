"""The idempotency keys of Stripe: a saved answer, of any status, is repeated for 24 hours."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tests.stand_ins.stripe.refusals import Json, Refused

LIFETIME: Final = timedelta(hours=24)


@dataclass(frozen=True)
class _Saved:
    time: datetime
    request: object
    status: int
    answer: Json


class IdempotencyKeys:
    """The answers that are saved under keys."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._saved: dict[str, _Saved] = {}

    def find(self, key: str, request: object) -> tuple[int, Json] | None:
        """Return the saved answer; refuse a key that came with another request."""
        saved = self._saved.get(key)
        if saved is None or self._clock() - saved.time >= LIFETIME:
            return None
        if saved.request != request:
            message = "Keys for idempotent requests can only be used with the same parameters"
            raise Refused(400, {"type": "idempotency_error", "message": message}, is_saved=False)
        return saved.status, saved.answer

    def save(self, key: str, request: object, status: int, answer: Json) -> None:
        """Save an answer."""
        self._saved[key] = _Saved(self._clock(), request, status, answer)

    def forget(self) -> None:
        """Forget every answer, as Stripe does after a day."""
        self._saved.clear()
