"""The terminal output of the demo: each call with its outcome and duration, and a closing table."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


@dataclass
class Transcript:
    """The calls of one demo run."""

    colours: bool
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def paint(self, text: str, colour: str) -> str:
        """Colour `text` if the terminal supports it."""
        return f"{colour}{text}{PLAIN}" if self.colours else text

    def section(self, title: str) -> None:
        """Print the title of a section."""
        print(f"\n{self.paint(title, BOLD)}")

    def call(self, actor: str, action: str, work: Callable[[], T], describe: Callable[[T], str]) -> T:
        """Make one call; print and record its outcome and duration."""
        begin = time.perf_counter()
        result = work()
        duration = f"{(time.perf_counter() - begin) * 1000:.1f} ms"
        outcome = describe(result)
        self.rows.append((actor, action, outcome, duration))
        highlighted = outcome.replace("ADMITTED", self.paint("ADMITTED", GREEN)).replace(
            "DENIED", self.paint("DENIED", RED)
        )
        print(f"  {actor:<10} {action:<22} {highlighted}  {self.paint(duration, DIM)}")
        return result

    def table(self) -> None:
        """Print all calls as one table."""
        widths = [max(len(row[column]) for row in self.rows) for column in range(4)]
        line = "─" * (sum(widths) + 11)
        print(f"\n{line}")
        for number, (actor, action, outcome, duration) in enumerate(self.rows, 1):
            print(
                f"{number:>3}  {actor:<{widths[0]}}  {action:<{widths[1]}}  "
                f"{outcome:<{widths[2]}}  {duration:>{widths[3]}}"
            )
        print(line)
