"""The plot of rate and latencies over the number of devices; it needs the extra `bench`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The rate and latencies with a number of devices; latencies in seconds."""

    devices: int
    rate: float
    p50: float
    p99: float


def plot(curves: Mapping[str, Sequence[CurvePoint]], path: Path) -> None:
    """Draw rate and latencies over the number of devices."""
    # Without a date and random ids, the same figures make the same file.
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
