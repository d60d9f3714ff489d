"""The full-screen view for the person at the gate: one word that is read from two metres away, why, and how things are.

An answer goes after a few seconds, so that nobody takes it for the next person's.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Self

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ticketing.gate.link import State, Status
from ticketing.gate.messages import Answer
from ticketing.gate.plain import line, words

SHOWN_SECONDS: Final = 5.0
RECENT: Final = 6
PROBLEM_CHARACTERS: Final = 70
_LETTERS: Final = {
    "A": (" ███ ", "█   █", "█████", "█   █", "█   █"),
    "C": (" ████", "█    ", "█    ", "█    ", " ████"),
    "D": ("████ ", "█   █", "█   █", "█   █", "████ "),
    "E": ("█████", "█    ", "████ ", "█    ", "█████"),
    "I": ("███", " █ ", " █ ", " █ ", "███"),
    "K": ("█  █ ", "█ █  ", "██   ", "█ █  ", "█  █ "),
    "M": ("█   █", "██ ██", "█ █ █", "█   █", "█   █"),
    "N": ("█   █", "██  █", "█ █ █", "█  ██", "█   █"),
    "R": ("████ ", "█   █", "████ ", "█  █ ", "█   █"),
    "T": ("█████", "  █  ", "  █  ", "  █  ", "  █  "),
    "Y": ("█   █", " █ █ ", "  █  ", "  █  ", "  █  "),
}
_COLOURS: Final = {
    State.ONLINE: "bold green",
    State.CONNECTING: "bold yellow",
    State.OFFLINE: "bold yellow",
    State.REFUSED: "bold red",
}


@dataclass(slots=True)
class Seen:
    """What has been shown in this run."""

    admitted: int = 0
    denied: int = 0
    recent: deque[Answer] = field(default_factory=lambda: deque(maxlen=RECENT))
    # When the last one was.
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How things are apart from people."""

    status: Status
    location: str
    queue: int


class Screen:
    """Shows answers on the whole terminal.

    Args:
        console: the terminal.
        standing: how things are, asked again and again.
    """

    def __init__(self, console: Console, standing: Callable[[], Standing]) -> None:
        self._console = console
        self._standing = standing
        self._lock = threading.Lock()
        self._seen = Seen()
        self._live = Live(
            get_renderable=lambda: self.picture(monotonic()), console=console, screen=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, answer: Answer) -> None:
        """Show an answer, at once; a denial sounds."""
        with self._lock:
            self._seen.recent.appendleft(answer)
            self._seen.since = monotonic()
            if answer.green:
                self._seen.admitted += 1
            elif answer.annulled:
                self._seen.admitted -= 1
            else:
                self._seen.denied += 1
        self._live.refresh()
        if not answer.green:
            self._console.bell()

    def picture(self, now: float) -> RenderableType:
        """Draw everything; `now` as monotonic() has it."""
        standing = self._standing()
        with self._lock:
            recent = list(self._seen.recent)
            fresh = bool(recent) and now - self._seen.since < SHOWN_SECONDS
            counts = f"{self._seen.admitted} admitted   {self._seen.denied} denied"
        layout = Layout()
        layout.split_column(
            Layout(_header(standing), size=3),
            Layout(_verdict(recent[0] if fresh else None, standing.status.state)),
            Layout(
                Panel(
                    Group(*[Text(line(answer), no_wrap=True, overflow="ellipsis") for answer in recent]), title=counts
                ),
                size=RECENT + 2,
            ),
        )
        return layout


def _header(standing: Standing) -> Panel:
    status = standing.status
    state = Text(f"● {status.state}", style=_COLOURS[status.state])
    problem = None if status.state is State.ONLINE or not status.problem else Text(status.problem[:PROBLEM_CHARACTERS])
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="center", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    queue = f"{standing.queue} to deliver" if standing.queue else "all delivered"
    table.add_row(Text(f"{status.event_name}  {standing.location}".strip(), style="bold"), state, queue)
    return Panel(table, subtitle=problem)


def _verdict(answer: Answer | None, state: State) -> RenderableType:
    if answer is None:
        word, why, style = "READY", "", "dim"
        if state is State.REFUSED:
            word, why, style = "DENIED", "this device may not scan (any more)", "bold white on red"
    elif answer.green:
        word, why, style = "ADMITTED", words(answer), "bold white on green"
    else:
        word, why, style = "DENIED", words(answer), "bold white on red"
    content = Group(Align.center(Text(_large(word))), Text(), Align.center(Text(why)))
    return Panel(Align.center(content, vertical="middle"), style=style)


def _large(word: str) -> str:
    return "\n".join("  ".join(_LETTERS[email][row] for email in word) for row in range(5))
