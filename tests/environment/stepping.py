"""Run coroutines one step at a time, in every order of their steps.

A step ends where the code under test awaits `Stepper.step`. A script decides which coroutine continues, and other
questions of the test such as "is this answer lost?". `scripts` enumerates all scripts, as a depth-first search does.

Two steps that use different systems have the same effect in either order. Of the orders that differ only by swaps of
such steps, one is run: the one in which the actor that stands first goes first.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

_ACTOR: ContextVar[str] = ContextVar("actor")


class Script:
    """The decisions of one run: first those of `prefix`, then always the first option."""

    def __init__(self, prefix: tuple[int, ...] = ()) -> None:
        self._prefix = prefix
        # The decisions so far, each with its number of options.
        self._taken: list[tuple[int, int]] = []
        # Another script has the same effects from here on, so no further decision is enumerated.
        self.is_redundant = False

    def choose(self, options: int) -> int:
        if self.is_redundant:
            return 0
        place = len(self._taken)
        choice = self._prefix[place] if place < len(self._prefix) else 0
        self._taken.append((choice, options))
        return choice

    def next_prefix(self) -> tuple[int, ...] | None:
        """Return the decisions of the next script; None: this was the last one."""
        taken = list(self._taken)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return None
        *before, (last, _) = taken
        return (*(choice for choice, _ in before), last + 1)

    def __str__(self) -> str:
        return "".join(str(choice) for choice, _ in self._taken)


def scripts() -> Iterator[Script]:
    """Yield a script for each sequence of decisions; the caller runs each before it takes the next one."""
    prefix: tuple[int, ...] | None = ()
    while prefix is not None:
        script = Script(prefix)
        yield script
        prefix = script.next_prefix()


def are_dependent(_first: str, _second: str) -> bool:
    """Return True: without knowledge of the steps, every order counts."""
    return True


class Stepper:
    """Coroutines that wait for their turn, and the steps that they did.

    Args:
        script: decides which coroutine continues.
        are_dependent: returns whether the order of two steps of different coroutines matters, by their names.
    """

    def __init__(self, script: Script, are_dependent: Callable[[str, str], bool] = are_dependent) -> None:
        self.script = script
        self._are_dependent = are_dependent
        self.steps: list[str] = []
        self._waiting: dict[str, tuple[str, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()

    @property
    def is_stepping(self) -> bool:
        """Return whether a stepped coroutine calls."""
        return _ACTOR.get("") != ""

    async def step(self, name: str) -> None:
        """Wait for the turn of this coroutine; return at once outside of `run`."""
        if not self.is_stepping:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[_ACTOR.get()] = name, turn
        self._changed.set()
        await turn

    async def run(self, actors: Mapping[str, Coroutine[Any, Any, Any]]) -> dict[str, Any]:
        """Run the coroutines to their ends; return their results and exceptions."""
        tasks = {name: asyncio.create_task(self._act(name, work)) for name, work in actors.items()}
        for task in tasks.values():
            task.add_done_callback(lambda _: self._changed.set())
        last: tuple[str, str] | None = None
        order = list(actors)

        def is_useful(name: str) -> bool:
            # The step could have been done before the last one, with the same effect.
            if last is None or order.index(name) >= order.index(last[0]):
                return True
            return self._are_dependent(last[1], self._waiting[name][0])

        while running := [name for name, task in tasks.items() if not task.done()]:
            if self._waiting.keys() != set(running):
                self._changed.clear()
                await self._changed.wait()
                continue
            useful = list(filter(is_useful, running))
            if not useful:
                self.script.is_redundant = True
                useful = running
            actor = useful[self.script.choose(len(useful)) if len(useful) > 1 else 0]
            name, turn = self._waiting.pop(actor)
            last = actor, name
            self.steps.append(f"{actor}: {name}")
            turn.set_result(None)
            # The coroutine continues before the next look at `running`.
            await asyncio.sleep(0)
        return dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))

    @staticmethod
    async def _act(name: str, work: Coroutine[Any, Any, Any]) -> Any:
        _ACTOR.set(name)
        return await work
