"""Add up the metrics of several workers, as one process would expose them.

Each worker exposes its own metrics, so nothing in a worker depends on the number of workers. The library's mode for
several processes writes every count to a mapped file, and supports neither functions of gauges nor info metrics.

A supervisor runs the program of its workers, so it has imported the modules that define their database gauges.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ticketing.chassis.metrics import is_database_gauge

# A gauge of a time or an age counts nothing: the sum shows the latest time and the greatest age.
LARGEST: Final = ("_seconds", "_created")
# A metric of this name has the value 1 in every worker.
INFO: Final = "_info"
COUNTED: Final = frozenset({"counter", "histogram", "summary"})

# The name of a sample and its labels.
Series = tuple[str, tuple[tuple[str, str], ...]]


class WorkerExpositions(Collector):
    """The sum of the workers' metrics; the counts of an ended worker stay in it, because a counter never falls."""

    def __init__(self, read: Callable[[], Mapping[int, str | None]]) -> None:
        """Take `read`, which returns the exposition of each running worker by its process id; None: no answer."""
        self._read = read
        self._last: dict[int, str] = {}
        self._ended: list[Metric] = []
        # Two concurrent reads would add the counts of an ended worker twice.
        self._lock = Lock()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are unknown until a worker answers."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the sums."""
        with self._lock:
            return self._collect()

    def _collect(self) -> Iterator[Metric]:
        running = self._read()
        ended = [_parse(text) for process, text in self._last.items() if process not in running]
        self._ended = list(add_up([self._ended, *([f for f in one if f.type in COUNTED] for one in ended)]))
        answers = {process: self._last.get(process) if text is None else text for process, text in running.items()}
        self._last = {process: text for process, text in answers.items() if text is not None}
        return add_up([self._ended, *map(_parse, self._last.values())])


def add_up(workers: Iterable[Iterable[Metric]]) -> Iterator[Metric]:
    """Yield the sum of the workers' metrics, in the order in which they first occur."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[Series, float]] = {}
    for family in (family for worker in workers for family in worker):
        families.setdefault(family.name, family)
        series = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()))
            series[key] = _joined(family, series[key], sample.value) if key in series else sample.value
    for name, family in families.items():
        summed = Metric(name, family.documentation, family.type)
        for (sample_name, labels), value in values[name].items():
            summed.add_sample(sample_name, dict(labels), value)
        yield summed


def _joined(family: Metric, one: float, other: float) -> float:
    if family.type not in COUNTED and (family.name.endswith(LARGEST) or is_database_gauge(family.name)):
        return max(one, other)
    return one if family.name.endswith(INFO) else one + other


def _parse(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))
