"""Telling a story on the terminal: each call with its outcome and time, and a table at the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


@dataclass
class Story:
    """Tells what happens, and keeps it for the closing table."""

    colours: bool
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def paint(self, text: str, colour: str) -> str:
        """Colour `text` where the terminal can."""
        return f"{colour}{text}{PLAIN}" if self.colours else text

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        print(f"\n{self.paint(title, BOLD)}")

    def call(self, who: str, what: str, work: Callable[[], T], outcome: Callable[[T], str]) -> T:
        """Make one call and tell how it went."""
        begin = time.perf_counter()
        result = work()
        took = f"{(time.perf_counter() - begin) * 1000:.1f} ms"
        told = outcome(result)
        self.rows.append((who, what, told, took))
        highlighted = told.replace("ADMITTED", self.paint("ADMITTED", GREEN)).replace(
            "DENIED", self.paint("DENIED", RED)
        )
        print(f"  {who:<10} {what:<20} {highlighted}  {self.paint(took, DIM)}")
        return result

    def table(self) -> None:
        """Close with everything at a glance."""
        widths = [max(len(row[column]) for row in self.rows) for column in range(4)]
        line = "─" * (sum(widths) + 11)
        print(f"\n{line}")
        for number, (who, what, told, took) in enumerate(self.rows, 1):
            print(f"{number:>3}  {who:<{widths[0]}}  {what:<{widths[1]}}  {told:<{widths[2]}}  {took:>{widths[3]}}")
        print(line)
