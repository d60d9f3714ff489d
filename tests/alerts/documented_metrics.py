"""The table of docs/metrics.md, which a test compares with the running programs."""

import re
from dataclasses import dataclass
from typing import Final

from tests.environment import ROOT

PAGE: Final = ROOT / "docs" / "metrics.md"
ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| .* \| ([^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class DocumentedMetric:
    """One row of the table."""

    type: str
    labels: tuple[str, ...]
    programs: frozenset[str]


def documented() -> dict[str, DocumentedMetric]:
    """Return the rows by the names of their metrics."""
    found = ROW.findall(PAGE.read_text())
    assert len(found) == len({name for name, *_ in found})
    return {
        name: DocumentedMetric(kind, tuple(re.findall(r"`(\w+)`", labels)), frozenset(programs.split(", ")))
        for name, kind, labels, programs in found
    }


def series_labels() -> dict[str, set[str]]:
    """Return the labels of every series by its name, without those that Prometheus adds."""
    # Prometheus itself and its Python client export these.
    labels: dict[str, set[str]] = {
        "up": set(),
        "process_cpu_seconds_total": set(),
        "process_resident_memory_bytes": set(),
    }
    for name, metric in documented().items():
        suffixes = ("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",)
        labels |= {f"{name}{suffix}": set(metric.labels) for suffix in suffixes}
    return labels
