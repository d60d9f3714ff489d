"""The tests that execute each line: a mutant can be noticed by no other test."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import coverage
import pytest

from tests.environment import ROOT

# A line that more tests execute keeps the fastest of them.
MAX_TESTS: Final = 100


@dataclass(frozen=True)
class Covering:
    """The tests that execute each line of some modules, and the seconds that a test takes."""

    # By path and line.
    lines: Mapping[str, Mapping[int, frozenset[str]]]
    seconds: Mapping[str, float]

    def tests_of(self, path: str, first: int, last: int) -> list[str]:
        """Return the tests that execute one of some lines, or else any line of their module; fastest first."""
        by_line = self.lines.get(path, {})
        found = self._executing(path, first, last) or frozenset[str]().union(*by_line.values())
        return sorted(found, key=lambda test: (self.seconds[test], test))

    def is_only_loaded(self, path: str, first: int, last: int) -> bool:
        """Return whether lines run while modules are loaded, and in no test."""
        by_line = self.lines.get(path, {})
        return any(line in by_line for line in range(first, last + 1)) and not self._executing(path, first, last)

    def _executing(self, path: str, first: int, last: int) -> frozenset[str]:
        by_line = self.lines.get(path, {})
        return frozenset[str]().union(*(by_line.get(line, ()) for line in range(first, last + 1)))


class _Recorder:
    """A plugin of pytest that records the lines that each test executes."""

    def __init__(self, measure: coverage.Coverage) -> None:
        self._measure = measure
        self.seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measure.switch_context(item.nodeid)
        result = yield
        self._measure.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


def record(modules: Sequence[str], tests: Sequence[str], file: Path) -> int:
    """Run tests once and record which lines of `modules` each executes; return the exit code of pytest."""
    measure = coverage.Coverage(data_file=None, config_file=False, include=[str(ROOT / path) for path in modules])
    recorder = _Recorder(measure)
    measure.start()
    code = pytest.main(
        [
            "-q",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
            *tests,
        ],
        plugins=[recorder],
    )
    measure.stop()
    data = measure.get_data()
    lines = {
        str(Path(name).relative_to(ROOT)): {
            line: sorted(filter(None, contexts), key=lambda test: recorder.seconds[test])[:MAX_TESTS]
            for line, contexts in data.contexts_by_lineno(name).items()
        }
        for name in data.measured_files()
    }
    file.write_text(json.dumps({"lines": lines, "seconds": recorder.seconds}))
    return int(code)


def load(files: Sequence[Path]) -> Covering:
    """Read and merge recordings."""
    lines: dict[str, dict[int, frozenset[str]]] = defaultdict(lambda: defaultdict(frozenset))
    seconds: dict[str, float] = {}
    for file in files:
        read: Any = json.loads(file.read_text())
        seconds |= read["seconds"]
        for path, by_line in read["lines"].items():
            for line, tests in by_line.items():
                lines[path][int(line)] |= frozenset(tests)
    return Covering(lines, seconds)
