"""The exported metrics and docs/metrics.md are the same; the list comes from the running programs."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

import ticket_service.app  # noqa: F401 - see `labels_of`
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.http_port import get
from tests.processes.service import ServiceProcess
from tests.stand_ins.webhook import SECRET
from ticketing.chassis.metrics import is_database_gauge
from ticketing.chassis.workers.supervisor import RESTARTS

# The Python client exports these by itself; docs/metrics.md names them in one sentence.
OF_THE_CLIENT = re.compile(r"^(process|python)_|_created$")
PROGRAMS = {"tickets", "scans", "relay"}
PAGE = ROOT / "docs" / "metrics.md"
# The registry of a supervisor alone contains it.
RESTARTS_NAME = "ticketing_worker_restarts_total"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| .* \| ([^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class DocumentedMetric:
    """One row of the table."""

    type: str
    labels: tuple[str, ...]
    programs: frozenset[str]


def documented() -> dict[str, DocumentedMetric]:
    found = ROW.findall(PAGE.read_text())
    assert len(found) == len({name for name, *_ in found})
    return {
        name: DocumentedMetric(kind, tuple(re.findall(r"`(\w+)`", labels)), frozenset(programs.split(", ")))
        for name, kind, labels, programs in found
    }


@pytest.fixture
def processes(issuer: Issuer, tmp_path: Path, tickets_url: URL, scans_url: URL) -> Iterator[dict[str, ServiceProcess]]:
    """Run both services and the relay with everything that a setting turns on. Nothing listens at the addresses."""
    variables = {
        **issuer.variables(tmp_path),
        "TICKETS_DATABASE_URL": tickets_url.render_as_string(hide_password=False),
        "SCANS_DATABASE_URL": scans_url.render_as_string(hide_password=False),
        **dict.fromkeys(["TICKETS_PORT", "TICKETS_METRICS_PORT", "TICKETS_RELAY_METRICS_PORT"], "0"),
        **dict.fromkeys(["SCANS_PORT", "SCANS_METRICS_PORT"], "0"),
        "TICKETS_SCANS_ADDRESS": "127.0.0.1:1",
        "SCANS_TICKETS_ADDRESS": "127.0.0.1:1",
        "TICKETS_STRIPE_KEY": "sk_test_1",
        "TICKETS_STRIPE_API_BASE": "http://127.0.0.1:1",
        "TICKETS_STRIPE_WEBHOOK_SECRETS": "whsec_1",
        "TICKETS_PROVIDER_WEBHOOK_PORT": "0",
        "TICKETS_WEBHOOK_URL": "http://127.0.0.1:1",
        "TICKETS_WEBHOOK_SECRET": SECRET,
        "TICKETS_SMTP_URL": "smtp://127.0.0.1:1",
        "TICKETS_MAIL_FROM": "tickets@example.com",
        "TICKETS_NATS_URL": "nats://127.0.0.1:1",
    }
    with ExitStack() as stack:
        yield {
            "tickets": stack.enter_context(ServiceProcess("ticket_service", variables)),
            "scans": stack.enter_context(ServiceProcess("scan_service", variables)),
            "relay": stack.enter_context(ServiceProcess("ticket_service", variables, "relay")),
        }


def exported(process: ServiceProcess) -> dict[str, str]:
    """Return the type of each exported metric by its name."""
    _, text = get(process.metrics_port, "/metrics")
    families = text_string_to_metric_families(text)
    return dict(_name_and_type(one) for one in families if not OF_THE_CLIENT.search(one.name))


def _name_and_type(family: Metric) -> tuple[str, str]:
    if family.name.endswith("_info"):
        # The text format has no type of its own for it.
        return family.name, "info"
    return (f"{family.name}_total" if family.type == "counter" else family.name), family.type


def labels_of(name: str) -> tuple[str, ...]:
    """Return the labels of a metric of the modules that the apps import."""
    collector = RESTARTS if name == RESTARTS_NAME else REGISTRY._names_to_collectors[name]  # noqa: SLF001 - the only list
    return ("version",) if name.endswith("_info") else tuple(collector._labelnames)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


def test_every_exported_metric_is_documented_and_nothing_else(processes: dict[str, ServiceProcess]) -> None:
    """The list comes from the running programs, so it contains metrics of which no test knows."""
    rows = {name: row for name, row in documented().items() if name != RESTARTS_NAME}
    found = {program: exported(process) for program, process in processes.items()}
    assert {name for name, row in rows.items() if "scans" in row.programs} == found["scans"].keys()
    assert {name for name, row in rows.items() if row.programs & {"tickets", "relay"}} == found["tickets"].keys()
    assert found["relay"] == found["tickets"]
    assert {name: row.type for name, row in rows.items()} == found["tickets"] | found["scans"]


def test_a_metric_has_the_documented_labels_and_a_conventional_name() -> None:
    for name, row in documented().items():
        assert row.labels == labels_of(name), name
        assert name.endswith("_total") == (row.type == "counter"), name
        assert row.programs <= PROGRAMS, name


def test_only_metrics_of_the_database_are_marked_as_such() -> None:
    marked = re.findall(r"^\| `(\w+)` .*\*database\*: ", PAGE.read_text(), re.MULTILINE)
    assert set(marked) == {name for name in documented() if is_database_gauge(name)}
