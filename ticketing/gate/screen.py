"""The full-screen view for people at the gate: one word readable from two metres, the reason, and the status.

An answer disappears after a few seconds, so that nobody takes it for the answer to the next person.
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

from ticketing.gate.answer_text import describe, text_line, typed_line
from ticketing.gate.connection_status import REFUSED_NOTE, ConnectionState
from ticketing.gate.device_status import DeviceStatus
from ticketing.gate.messages import Answer
from ticketing.gate.notices import Notice
from ticketing.gate.offline_decision import NO_REPLICA

SHOWN_SECONDS: Final = 5.0
NOTICE_SECONDS: Final = 20.0
# A list is read, and a name compared with a document.
LIST_SECONDS: Final = 120.0
TYPED_ADVICE: Final = "Enter ends the line, Backspace corrects it, ?NAME looks a ticket up"
RECENT: Final = 6
PROBLEM_CHARACTERS: Final = 70
HEADER_ROWS: Final = 4
# The border, the large word, a blank row and two rows of the reason.
VERDICT_ROWS: Final = 10
_GLYPHS: Final = {
    "A": (" ███ ", "█   █", "█████", "█   █", "█   █"),
    "C": (" ████", "█    ", "█    ", "█    ", " ████"),
    "D": ("████ ", "█   █", "█   █", "█   █", "████ "),
    "E": ("█████", "█    ", "████ ", "█    ", "█████"),
    "G": (" ████", "█    ", "█  ██", "█   █", " ████"),
    "I": ("███", " █ ", " █ ", " █ ", "███"),
    "K": ("█  █ ", "█ █  ", "██   ", "█ █  ", "█  █ "),
    "M": ("█   █", "██ ██", "█ █ █", "█   █", "█   █"),
    "L": ("█    ", "█    ", "█    ", "█    ", "█████"),
    "N": ("█   █", "██  █", "█ █ █", "█  ██", "█   █"),
    "O": (" ███ ", "█   █", "█   █", "█   █", " ███ "),
    "P": ("████ ", "█   █", "████ ", "█    ", "█    "),
    "Q": (" ███ ", "█   █", "█   █", "█  ██", " ████"),
    "R": ("████ ", "█   █", "████ ", "█  █ ", "█   █"),
    "S": (" ████", "█    ", " ███ ", "    █", "████ "),
    "T": ("█████", "  █  ", "  █  ", "  █  ", "  █  "),
    "U": ("█   █", "█   █", "█   █", "█   █", " ███ "),
    "Y": ("█   █", " █ █ ", "  █  ", "  █  ", "  █  "),
    " ": ("  ", "  ", "  ", "  ", "  "),
    "?": ("████ ", "    █", "  ██ ", "     ", "  █  "),
}
_COLOURS: Final = {
    ConnectionState.ONLINE: "bold green",
    ConnectionState.CONNECTING: "bold yellow",
    ConnectionState.OFFLINE: "bold yellow",
    ConnectionState.REFUSED: "bold red",
}


@dataclass(slots=True)
class ScreenHistory:
    """The answers shown in this run."""

    admitted: int = 0
    denied: int = 0
    recent: deque[Answer] = field(default_factory=lambda: deque(maxlen=RECENT))
    # The answer or notice to show large, and the time of it, as monotonic() returns it.
    latest: Answer | Notice | None = None
    since: float = 0.0
    # A scan_id, and the name of the holder of its ticket.
    holder: tuple[str, str] = ("", "")
    # The line that is being typed.
    typed: str = ""


class Screen:
    """A view of answers on the whole terminal; every refresh calls `read_status`."""

    def __init__(self, console: Console, read_status: Callable[[], DeviceStatus]) -> None:
        self._console = console
        self._read_status = read_status
        self._lock = threading.Lock()
        self._history = ScreenHistory()
        self._live = Live(
            get_renderable=lambda: self.render(monotonic()), console=console, screen=True, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, answer: Answer) -> None:
        """Show an answer; a denial rings the bell. A repeated answer is shown again and not counted."""
        with self._lock:
            self._history.latest = answer
            self._history.since = monotonic()
            if not answer.repeated:
                self._history.recent.appendleft(answer)
                if answer.may_pass:
                    self._history.admitted += answer.people
                elif answer.annulled:
                    self._history.admitted -= answer.people
                elif answer.is_scan:
                    self._history.denied += 1
        self._live.refresh()
        if not answer.may_pass and not answer.repeated:
            self._console.bell()

    def show_notice(self, notice: Notice) -> None:
        """Show a notice with the bell."""
        with self._lock:
            self._history.latest = notice
            self._history.since = monotonic()
        self._live.refresh()
        self._console.bell()

    def show_holder(self, scan_id: str, name: str) -> None:
        """Add the name of the holder to the answer to a scan, while that answer is shown."""
        with self._lock:
            self._history.holder = (scan_id, name)
        self._live.refresh()

    def show_typed(self, text: str) -> None:
        """Show the line that is being typed."""
        with self._lock:
            self._history.typed = text
        if text:
            self._live.refresh()

    def render(self, now: float) -> RenderableType:
        """Render the whole screen; `now` is a time of monotonic()."""
        status = self._read_status()
        with self._lock:
            recent = list(self._history.recent)
            shown_seconds = _shown_seconds(self._history.latest)
            latest = self._history.latest if now - self._history.since < shown_seconds else None
            typed = typed_line(self._history.typed)
            scan_id, name = self._history.holder
            holder = name if isinstance(latest, Answer) and latest.scan_id == scan_id else ""
            counts = f"{self._history.admitted} admitted   {self._history.denied} denied"
        lines = [Text(text_line(answer), no_wrap=True, overflow="ellipsis") for answer in recent]
        # With a large font the terminal has few rows: the verdict needs them more than earlier answers.
        history_rows = min(RECENT + 2, self._console.height - HEADER_ROWS - VERDICT_ROWS)
        parts = [Layout(_header(status), size=HEADER_ROWS), Layout(_verdict(latest, status, typed, holder))]
        if history_rows > 2:  # noqa: PLR2004 - the two rows of its border
            parts.append(Layout(Panel(Group(*lines), title=counts), size=history_rows))
        layout = Layout()
        layout.split_column(*parts)
        return layout


def _shown_seconds(shown: Answer | Notice | None) -> float:
    if not isinstance(shown, Notice):
        return SHOWN_SECONDS
    return NOTICE_SECONDS if shown.word else LIST_SECONDS


def _header(status: DeviceStatus) -> Panel:
    connection = status.connection
    state = Text(f"● {connection.state}", style=_COLOURS[connection.state])
    problem = None
    if connection.problem and connection.state is not ConnectionState.ONLINE:
        problem = Text(connection.problem[:PROBLEM_CHARACTERS])
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="center", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    age = Text(status.replica_text(), style="" if status.replica.is_complete else "bold yellow")
    queue = f"{status.queue_length} to deliver" if status.queue_length else "all delivered"
    table.add_row(Text(f"{connection.event_name}  {status.location}".strip(), style="bold"), state, queue)
    problems = Text(f" {'; '.join(status.problems)[:PROBLEM_CHARACTERS]} ", style="bold white on red")
    table.add_row("", age, "")
    return Panel(table, title=problems if status.problems else None, subtitle=problem)


def _verdict(answer: Answer | Notice | None, status: DeviceStatus, typed: str, holder: str) -> RenderableType:
    connection = status.connection
    if isinstance(answer, Notice):
        word, reason, style = answer.word, answer.text, "bold black on yellow"
    elif answer is None:
        word, reason, style = "READY", "", "dim"
        if connection.state is ConnectionState.OFFLINE and not status.replica.is_complete:
            word, reason, style = "NOT READY", NO_REPLICA, "bold black on yellow"
        elif connection.state is ConnectionState.REFUSED:
            reason = f"{REFUSED_NOTE}\n{connection.advice}".strip()
            word, style = "DENIED", "bold white on red"
    elif answer.may_pass:
        word, reason, style = "ADMITTED", describe(answer), "bold white on green"
    else:
        word, reason, style = "DENIED", describe(answer), "bold white on red"
        if answer.annulled:
            word = "ANNULLED"
    if holder:
        reason = f"{reason}\n{holder}".strip()
    if word:
        content = Group(Align.center(Text(_large(word))), Text(), Align.center(Text(reason, justify="center")))
    else:
        content = Group(Text(reason, no_wrap=True, overflow="ellipsis"))
    title, subtitle = (f" {typed} ", f" {TYPED_ADVICE} ") if typed else (None, None)
    return Panel(
        Align.center(content, vertical="middle"),
        style=style,
        title=title and Text(title),
        title_align="left",
        subtitle=subtitle and Text(subtitle),
    )


def _large(word: str) -> str:
    return "\n".join("  ".join(_GLYPHS[letter][row] for letter in word) for row in range(5))
