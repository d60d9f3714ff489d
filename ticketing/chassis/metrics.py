"""Gauges of values in the database: every process of a service exports the same value."""

from collections.abc import Sequence

from prometheus_client import Gauge

_NAMES: set[str] = set()


def database_gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """Return a new gauge of a value in the database.

    A supervisor exports the largest value of its workers and not their sum. Rules and boards take the largest value of
    all processes: `max(name)`.
    """
    _NAMES.add(name)
    return Gauge(name, documentation, labels)


def is_database_gauge(name: str) -> bool:
    """Return whether a metric is a gauge of a value in the database; its module must be imported."""
    return name in _NAMES
