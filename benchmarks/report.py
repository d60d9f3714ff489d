"""What was measured, as a table and a plot."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: figures of the rounds of one run, in their order."""

    name: str
    ours: Sequence[float]
    bare: Sequence[float]
    # What `ours` and `bare` are in, and what the bare thing is.
    unit: str
    against: str
    target: str

    @property
    def ratio(self) -> float:
        """Ours as a share of the bare, taken round by round: both of a round met the same machine."""
        return statistics.median(ours / bare for ours, bare in zip(self.ours, self.bare, strict=True))

    def cells(self) -> list[str]:
        """Return the cells of its line in the table."""
        return [
            self.name,
            _spread(self.ours),
            f"{self.against}: {_spread(self.bare)}",
            f"{self.ratio:.2f}",
            self.target,
        ]


def _spread(figures: Sequence[float]) -> str:
    digits = 0 if min(figures) >= 100 else 1  # noqa: PLR2004 - three figures are enough
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def percentile(figures: Sequence[float], percent: float) -> float:
    """Return the figure below which `percent` of them are."""
    ascending = sorted(figures)
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))]


def table(rows: Sequence[Row]) -> str:
    """Write the comparisons as a Markdown table."""
    lines = [["what", "ours: median (minimum-maximum)", "compared with", "ratio", "target"], ["---"] * 5]
    lines += [row.cells() for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True, slots=True)
class Point:
    """What some devices at once got."""

    devices: int
    rate: float
    p50: float
    p99: float


def plot(curves: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Draw throughput and answer times against the number of devices."""
    # The same picture from the same figures: no date, and no ids by chance.
    with mpl.rc_context({"svg.hashsalt": "ticketing"}):
        figure, (above, below) = plt.subplots(2, 1, figsize=(7, 7), sharex=True, layout="constrained")
        for name, points in curves.items():
            devices = [point.devices for point in points]
            (line,) = above.plot(devices, [point.rate for point in points], marker="o", label=name)
            for style, figures in (("-", [point.p50 for point in points]), ("--", [point.p99 for point in points])):
                below.plot(devices, [1000 * seconds for seconds in figures], style, marker="o", color=line.get_color())
        above.set(xscale="log", ylabel="scans a second", ylim=(0, None))
        above.legend()
        below.set(xlabel="devices, one unanswered scan each", ylabel="ms: p50 solid, p99 dashed", yscale="log")
        for axes in (above, below):
            axes.grid(visible=True, alpha=0.3)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
