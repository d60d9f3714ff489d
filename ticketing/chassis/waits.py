"""Facts about one call for its log lines: the ids in its request, and the time that it waited for what."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final
from uuid import UUID

from google.protobuf.message import Message

from ticketing.chassis import tracing

# These fields identify a request or a person, and not what the request is about.
_OTHER_IDS: Final = frozenset({"request_id", "user_id"})
_UUID_CHARACTERS: Final = 36


@dataclass(slots=True)
class CallFacts:
    """The facts of one call; the threads and tasks that work for the call add to the same object."""

    ids: dict[str, str] = field(default_factory=dict)
    # The seconds of each wait, by what the call waited for.
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, what: str, seconds: float) -> None:
        """Add a wait."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds


FACTS: ContextVar[CallFacts | None] = ContextVar("call_facts", default=None)


@contextmanager
def waiting_for(what: str, **attributes: str) -> Iterator[None]:
    """Count the time of the block as a wait of the present call, and record it as a span where tracing is on."""
    begin = perf_counter()
    try:
        with tracing.span(what, **attributes):
            yield
    finally:
        if (facts := FACTS.get()) is not None:
            facts.add(what, perf_counter() - begin)


def note_ids(**ids: UUID) -> None:
    """Add ids to the log line of the present call, which the call's first message does not show."""
    if (facts := FACTS.get()) is not None:
        facts.ids.update({name: str(one) for name, one in ids.items()})


def ids_of(request: object) -> dict[str, str]:
    """Return the ids of things in a request and in its messages one level below, by the names of their fields.

    Other texts are left out: a caller may have put a name or an address where an id belongs.
    """
    found: dict[str, str] = {}
    if isinstance(request, Message):
        _collect(request, found, _collect_no_deeper)
    return found


def _collect(message: Message, found: dict[str, str], below: Callable[[Message, dict[str, str]], None]) -> None:
    for descriptor, value in message.ListFields():
        if isinstance(value, Message):
            below(value, found)
        elif isinstance(value, str) and descriptor.name.endswith("_id") and _is_thing(descriptor.name, value):
            found.setdefault(descriptor.name, value)


def _collect_no_deeper(message: Message, found: dict[str, str]) -> None:
    _collect(message, found, lambda _, __: None)


def _is_thing(name: str, text: str) -> bool:
    if name in _OTHER_IDS or len(text) != _UUID_CHARACTERS:
        return False
    try:
        UUID(text)
    except ValueError:
        return False
    return True
