"""Comparisons in rounds, as a table."""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of the services and of a baseline, one of each per round, in order."""

    name: str
    ours: Sequence[float]
    baseline: Sequence[float]
    baseline_name: str
    target: str

    @property
    def ratio(self) -> float:
        """Return the median over the rounds of ours / baseline: both figures of a round met the same state of the machine."""
        return statistics.median(ours / baseline for ours, baseline in zip(self.ours, self.baseline, strict=True))

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        baseline = f"{self.baseline_name}: {_spread(self.baseline)}"
        return [self.name, _spread(self.ours), baseline, f"{self.ratio:.2f}", self.target]


def round_options(
    program: str, description: str | None, *, rounds: int = 5, seconds: float = 3
) -> argparse.ArgumentParser:
    """Build the parser of a program that measures in rounds."""
    options = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    options.add_argument("--rounds", type=int, default=rounds, help="rounds of each comparison (default: %(default)s)")
    seconds_help = "seconds of each measurement (default: %(default)s)"
    options.add_argument("--seconds", type=float, default=seconds, help=seconds_help)
    return options


def _spread(figures: Sequence[float]) -> str:
    digits = 0 if min(figures) >= 100 else 1  # noqa: PLR2004 - three digits are enough
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def percentile(figures: Sequence[float], percent: float) -> float:
    """Return the percentile of the figures."""
    ascending = sorted(figures)
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))]


def table(rows: Sequence[Comparison]) -> str:
    """Format the comparisons as a Markdown table."""
    lines = [["what", "ours: median (minimum-maximum)", "compared with", "ratio", "target"], ["---"] * 5]
    lines += [row.cells() for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
