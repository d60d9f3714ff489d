"""Each metric of docs/metrics.md has the labels, the kind and the name that the page states.

`tests/e2e/test_metrics.py` compares the page with the metrics of the running programs.
"""

import re

from prometheus_client import REGISTRY

import scan_service.app  # noqa: F401 - see `labels_of`
import ticket_service.app  # noqa: F401 - as above
from tests.alerts.documented_metrics import PAGE, documented
from ticketing.chassis.metrics import is_database_gauge
from ticketing.chassis.workers.supervisor import RESTARTS

PROGRAMS = {"tickets", "scans", "relay"}


def labels_of(name: str) -> tuple[str, ...]:
    """Return the labels of a metric of the modules that the apps import."""
    collector = RESTARTS if name == f"{RESTARTS._name}_total" else REGISTRY._names_to_collectors[name]  # noqa: SLF001 - the only list
    return ("version",) if name.endswith("_info") else tuple(collector._labelnames)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


def test_a_metric_has_the_documented_labels_and_a_conventional_name() -> None:
    for name, row in documented().items():
        assert row.labels == labels_of(name), name
        assert name.endswith("_total") == (row.type == "counter"), name
        assert row.programs <= PROGRAMS, name


def test_only_metrics_of_the_database_are_marked_as_such() -> None:
    marked = re.findall(r"^\| `(\w+)` .*\*database\*: ", PAGE.read_text(), re.MULTILINE)
    assert set(marked) == {name for name in documented() if is_database_gauge(name)}
