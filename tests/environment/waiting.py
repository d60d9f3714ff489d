"""Two ways to wait for a change that sends no event to the test: `eventually`, and `until` in an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic, sleep
from typing import Final, TypeVar, cast, overload

# Only a failing test waits so long: the start of a process takes some seconds on a busy machine.
MAX_SECONDS: Final = 40.0
PAUSE_SECONDS: Final = 0.02
TRUE: Final = object()

Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], wanted: object = TRUE, *, seconds: float = MAX_SECONDS) -> Answer:
    """Ask until the answer equals `wanted`, or by default is true; fail after `seconds`."""
    deadline = monotonic() + seconds
    while not _is_wanted(answer := ask(), wanted):
        assert monotonic() < deadline, f"still {answer!r} after {seconds} s"
        sleep(PAUSE_SECONDS)
    return answer


@overload
async def until(
    ask: Callable[[], Awaitable[Answer]], wanted: object = TRUE, *, seconds: float = MAX_SECONDS
) -> Answer: ...
@overload
async def until(ask: Callable[[], Answer], wanted: object = TRUE, *, seconds: float = MAX_SECONDS) -> Answer: ...
async def until(
    ask: Callable[[], Answer | Awaitable[Answer]], wanted: object = TRUE, *, seconds: float = MAX_SECONDS
) -> Answer:
    """Wait as `eventually` does, while other tasks run; `ask` may be a coroutine function."""
    deadline = monotonic() + seconds
    while True:
        asked = ask()
        answer = cast(Answer, await asked if isawaitable(asked) else asked)
        if _is_wanted(answer, wanted):
            return answer
        assert monotonic() < deadline, f"still {answer!r} after {seconds} s"
        await asyncio.sleep(PAUSE_SECONDS)


def _is_wanted(answer: object, wanted: object) -> bool:
    return bool(answer) if wanted is TRUE else answer == wanted
