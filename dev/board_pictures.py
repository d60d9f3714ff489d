"""Draw a board of Grafana as an SVG file, from the answers of Prometheus to the queries of its panels.

Grafana is in no package that this project may install, so the pictures show the same queries drawn by other means.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

# The size of a cell of the grid, of which a board has 24 in a row.
CELL: Final = (54, 25)
COLORS: Final = ("#56a64b", "#3274d9", "#e0b400", "#e02f44", "#8f3bb8", "#ff780a", "#37a2a2", "#8e8e8e")
TEXT, MUTED, LINE, GRID, PAPER, CARD = "#1f2430", "#6b7280", "#d7dae0", "#eceef2", "#f4f5f7", "#ffffff"
FONT: Final = "font-family='Inter, Helvetica, Arial, sans-serif'"
LEGEND_LINE: Final = 15
MAX_LEGEND: Final = 3


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel: its name, and its values by time; an instant query has one value."""

    name: str
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """The last value."""
        return self.points[-1][1]


def draw_board(board: Mapping[str, Any], data: Mapping[int, Sequence[Series]]) -> str:
    """Return the picture of a board; `data` has the series of each panel by its id."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) * CELL[1] + 60
    width = 24 * CELL[0] + 16
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' {FONT} font-size='12'>",
        f"<rect width='{width}' height='{height}' fill='{PAPER}'/>",
        f"<text x='12' y='28' font-size='19' font-weight='600' fill='{TEXT}'>{escape(board['title'])}</text>",
    ]
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y = 8 + place["x"] * CELL[0], 44 + place["y"] * CELL[1]
        parts.append(f"<g transform='translate({x} {y})'>")
        if panel["type"] == "row":
            parts.append(
                f"<text x='4' y='18' font-size='15' font-weight='600' fill='{TEXT}'>{escape(panel['title'])}</text>"
            )
        else:
            size = (place["w"] * CELL[0] - 8, place["h"] * CELL[1] - 8)
            parts += _panel(panel, size, data.get(panel["id"], ()))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Mapping[str, Any], size: tuple[int, int], series: Sequence[Series]) -> Iterator[str]:
    width, height = size
    yield f"<rect width='{width}' height='{height}' rx='4' fill='{CARD}' stroke='{LINE}'/>"
    yield f"<text x='10' y='20' font-weight='600' fill='{TEXT}'>{escape(panel['title'])}</text>"
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if not series:
        yield f"<text x='10' y='60' fill='{COLORS[3]}'>No data</text>"
    elif panel["type"] == "stat":
        yield from _stat(size, unit, series)
    elif panel["type"] == "bargauge":
        yield from _bars(size, unit, series)
    else:
        yield from _lines(panel, size, unit, series)


def _stat(size: tuple[int, int], unit: str, series: Sequence[Series]) -> Iterator[str]:
    step = (size[1] - 34) / len(series)
    for number, one in enumerate(series):
        y = 34 + step * (number + 0.5)
        yield f"<text x='14' y='{y + 9:.0f}' font-size='26' font-weight='600' fill='{COLORS[0]}'>{_number(one.last, unit)}</text>"
        yield f"<text x='{size[0] - 10}' y='{y + 6:.0f}' text-anchor='end' fill='{MUTED}'>{escape(one.name)}</text>"


def _bars(size: tuple[int, int], unit: str, series: Sequence[Series]) -> Iterator[str]:
    step, largest = (size[1] - 34) / len(series), max(one.last for one in series) or 1.0
    name_width = size[0] * 0.45
    for number, one in enumerate(series):
        y, bar = 34 + step * number, (size[0] - name_width - 70) * one.last / largest
        yield f"<text x='10' y='{y + step / 2 + 4:.0f}' fill='{TEXT}'>{escape(one.name)}</text>"
        yield f"<rect x='{name_width:.0f}' y='{y + step * 0.2:.1f}' width='{max(bar, 1):.1f}' height='{step * 0.6:.1f}' fill='{COLORS[1]}'/>"
        yield f"<text x='{name_width + bar + 8:.0f}' y='{y + step / 2 + 4:.0f}' fill='{TEXT}'>{_number(one.last, unit)}</text>"


@dataclass(frozen=True, slots=True)
class Plot:
    """The area of a panel in which its lines are drawn, and its axes."""

    left: int
    top: int
    right: int
    bottom: int
    begin: float
    end: float
    largest: float

    def at(self, time: float, value: float) -> str:
        """Return the place of a value."""
        x = self.left + (self.right - self.left) * (time - self.begin) / (self.end - self.begin)
        return f"{x:.0f},{self.y(value):.1f}"

    def y(self, value: float) -> float:
        """Return the height of a value; the largest one is at the top."""
        return self.bottom - (self.bottom - self.top) * min(value / self.largest, 1)


def _lines(panel: Mapping[str, Any], size: tuple[int, int], unit: str, series: Sequence[Series]) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    is_stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    drawn = _stacked(series) if is_stacked else series
    legends = list(_legend(size, series))
    bottom = size[1] - 24 - LEGEND_LINE * min(MAX_LEGEND, legends[-1][1] + 1)
    times = [time for one in drawn for time, _ in one.points]
    largest = _round_up(max(value for one in drawn for _, value in one.points) or 1.0)
    plot = Plot(52, 32, size[0] - 12, bottom, min(times), max(*times, min(times) + 1), largest)
    limits = [step["value"] for step in defaults.get("thresholds", {}).get("steps", []) if step["value"] is not None]
    yield from _axes(plot, unit, limits)
    yield from _curves(plot, drawn, is_stacked=is_stacked)
    for number, (x, row) in enumerate(legends):
        if row < MAX_LEGEND:
            y = bottom + 12 + LEGEND_LINE * (row + 1)
            yield f"<rect x='{x}' y='{y - 8}' width='12' height='4' fill='{COLORS[number % len(COLORS)]}'/>"
            yield f"<text x='{x + 17}' y='{y - 2}' font-size='11' fill='{TEXT}'>{escape(series[number].name)}</text>"


def _axes(plot: Plot, unit: str, limits: Sequence[float]) -> Iterator[str]:
    small = f"font-size='10.5' fill='{MUTED}'"
    for part in range(3):
        value = plot.largest * part / 2
        y = plot.y(value)
        yield f"<path d='M{plot.left} {y:.1f}H{plot.right}' stroke='{GRID}'/>"
        yield f"<text x='{plot.left - 6}' y='{y + 4:.0f}' text-anchor='end' {small}>{_number(value, unit)}</text>"
    for time, x, anchor in ((plot.begin, plot.left, "start"), (plot.end, plot.right, "end")):
        clock = f"{datetime.fromtimestamp(time, UTC):%H:%M:%S}"
        yield f"<text x='{x}' y='{plot.bottom + 14}' text-anchor='{anchor}' {small}>{clock}</text>"
    for limit in limits:
        if limit <= plot.largest:
            dashes = f"stroke='{COLORS[3]}' stroke-dasharray='6 4'"
            yield f"<path d='M{plot.left} {plot.y(limit):.1f}H{plot.right}' {dashes}/>"


def _curves(plot: Plot, drawn: Sequence[Series], *, is_stacked: bool) -> Iterator[str]:
    for number, one in reversed(list(enumerate(drawn))):
        color, line = COLORS[number % len(COLORS)], " ".join(plot.at(*point) for point in one.points)
        # The area of a series covers those of the sums that contain it, which are drawn before.
        for fill in (CARD, f"{color}59") if is_stacked else ():
            ends = (plot.at(one.points[0][0], 0), plot.at(one.points[-1][0], 0))
            yield f"<polygon points='{ends[0]} {line} {ends[1]}' fill='{fill}'/>"
        yield f"<polyline points='{line}' fill='none' stroke='{color}' stroke-width='1.6'/>"


def _legend(size: tuple[int, int], series: Sequence[Series]) -> Iterator[tuple[int, int]]:
    """Yield the place of each name: its x and its row."""
    x, row = 12, 0
    for one in series:
        needed = 30 + round(sum(8.2 if letter.isupper() else 6.2 for letter in one.name))
        if x > 12 and x + needed > size[0]:  # noqa: PLR2004 - the left margin
            x, row = 12, row + 1
        yield x, row
        x += needed


def _stacked(series: Sequence[Series]) -> list[Series]:
    """Add each series to those before it."""
    sums: dict[float, float] = {}
    stacked = []
    for one in series:
        points = []
        for time, value in one.points:
            sums[time] = sums.get(time, 0.0) + value
            points.append((time, sums[time]))
        stacked.append(Series(one.name, points))
    return stacked


def _round_up(value: float) -> float:
    """Return the next larger number with one digit, of 1, 2, 4, 5, 6 or 8."""
    magnitude = 10.0 ** (len(f"{value:.0f}") - 1) if value >= 1 else 10.0 ** -int(f"{value:e}".rpartition("-")[2])
    return next(digit * magnitude for digit in (1, 2, 4, 5, 6, 8, 10) if digit * magnitude >= value)


def _number(value: float, unit: str) -> str:
    """Format a value as Grafana does with the units that the boards use."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        if value == 0 or value >= 1:
            return f"{value / 60:.3g} min" if value >= 60 else f"{value:.3g} s"  # noqa: PLR2004 - seconds of a minute
        return f"{1000 * value:.3g} ms"
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004 - three digits
    return f"{text}/s" if unit == "reqps" else text
