"""Two ways to wait for a change that sends no event to the test: `eventually`, and `until` in an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic, sleep
from typing import Final, TypeVar, cast, overload

# Only a test that fails waits for this time: the start of a process takes some seconds on a busy machine.
MAX_SECONDS: Final = 40.0
PAUSE_SECONDS: Final = 0.02
TRUE: Final = object()

Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], wanted: object = TRUE, *, seconds: float = MAX_SECONDS) -> Answer:
    """Ask until the answer is wanted; fail after `seconds`.

    Args:
        ask: returns the present state.
        wanted: the answer to wait for; by default any that is true.
        seconds: bounds the wait.
    """
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
    """Ask until the answer is wanted; fail after `seconds`. Other tasks run meanwhile, and `ask` may be a coroutine."""
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
