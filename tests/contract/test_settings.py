"""The settings in the code, in docs/settings.md and in docker-compose.yml are the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scan_service.settings import read_settings as read_scan_settings
from ticket_service.settings import read_settings as read_ticket_settings
from ticketing.chassis.service_settings import ServiceSettings
from ticketing.chassis.settings import Environment

ROOT = Path(__file__).parents[2]


class Listening(dict[str, str]):
    """An environment that records which variables are read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, key: str, default: object = None) -> str:
        self.asked.add(key)
        return ""


def documented() -> dict[str, str]:
    """Return every variable of the tables, with its default."""
    text = (ROOT / "docs" / "settings.md").read_text()
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", text, re.MULTILINE))


def asked() -> set[str]:
    environment = Listening()
    read_ticket_settings(Environment(environment))
    read_scan_settings(Environment(environment))
    return environment.asked


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == asked()


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("TICKETS_PORT", lambda tickets, scans: tickets.service.listen.port),
        ("SCANS_PORT", lambda tickets, scans: scans.service.listen.port),
        ("TICKETS_WORKERS", lambda tickets, scans: tickets.service.workers),
        ("SCANS_WORKERS", lambda tickets, scans: scans.service.workers),
        ("TICKETS_METRICS_PORT", lambda tickets, scans: tickets.service.metrics_port),
        ("SCANS_METRICS_PORT", lambda tickets, scans: scans.service.metrics_port),
        ("TICKETING_MAX_CALLS", lambda tickets, scans: tickets.service.limits.calls),
        ("TICKETING_MAX_CALLS_PER_SECOND", lambda tickets, scans: tickets.service.limits.calls_per_second),
        (
            "TICKETING_MAX_FAILED_CREDENTIALS_PER_SECOND",
            lambda tickets, scans: tickets.service.limits.failed_credentials_per_second,
        ),
        ("TICKETING_MAX_STREAMS", lambda tickets, scans: tickets.service.limits.streams),
        ("TICKETING_MAX_DEVICE_STREAMS", lambda tickets, scans: tickets.service.limits.device_streams),
        ("TICKETING_DRAIN_SECONDS", lambda tickets, scans: int(tickets.service.listen.drain_seconds)),
        ("TICKETING_HOST", lambda tickets, scans: tickets.service.listen.host),
        ("TICKETING_ISSUER", lambda tickets, scans: tickets.service.issuer),
        ("TICKETING_AUDIENCE", lambda tickets, scans: tickets.service.audience),
        ("TICKETS_SCANS_ADDRESS", lambda tickets, scans: tickets.scans_address),
        ("SCANS_TICKETS_ADDRESS", lambda tickets, scans: scans.tickets_address),
        ("TICKETS_MAX_PER_PURCHASE", lambda tickets, scans: tickets.max_per_purchase),
        ("TICKETS_MAX_TICKETS_PER_CUSTOMER", lambda tickets, scans: tickets.customers.max_tickets),
        ("TICKETS_UNPAID_SECONDS", lambda tickets, scans: int(tickets.customers.unpaid_window.total_seconds())),
        ("SCANS_MAX_OUTSTANDING", lambda tickets, scans: scans.max_outstanding_scans),
        ("SCANS_MAX_UPLOADS", lambda tickets, scans: scans.max_outstanding_uploads),
        ("SCANS_MAX_WAITING", lambda tickets, scans: scans.max_waiting_scans),
        ("SCANS_MAX_FAILED_CODES", lambda tickets, scans: scans.max_failed_codes),
        ("SCANS_MAX_LOOK_UPS", lambda tickets, scans: scans.max_look_ups),
    ],
)
def test_a_default_equals_the_documented_one(variable: str, setting: object) -> None:
    tickets, scans = read_ticket_settings(Environment({})), read_scan_settings(Environment({}))
    assert documented()[variable] == f"`{setting(tickets, scans)}`"  # type: ignore[operator]  # a function of both


def test_both_services_read_shared_settings_alike() -> None:
    tickets, scans = read_ticket_settings(Environment({})).service, read_scan_settings(Environment({})).service
    own = {"listen", "metrics_port", "prefix", "workers"}
    for name in ServiceSettings.__dataclass_fields__.keys() - own:
        assert getattr(tickets, name) == getattr(scans, name)


def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def settings_in_containers() -> dict[str, str]:
    """Return every setting of the containers with its value."""
    services = compose()["services"]
    found: dict[str, str] = {}
    for name in ("ticket_service", "relay", "scan_service"):
        found |= services[name]["environment"]
    return found


def test_containers_receive_every_setting_and_nothing_else() -> None:
    services = compose()["services"]
    settings = asked()
    of_tickets = {name for name in settings if not name.startswith("SCANS_")}
    assert set(services["ticket_service"]["environment"]) == of_tickets
    assert set(services["relay"]["environment"]) == of_tickets
    assert set(services["scan_service"]["environment"]) == {n for n in settings if not n.startswith("TICKETS_")}
    for name, value in settings_in_containers().items():
        assert re.match(r"\$\{" + name + r":?[-?]", value), value
        assert value.count("${") == 1 or name.endswith(("_DATABASE_URL", "_ADDRESS")), value


def test_containers_reach_each_other_at_changed_ports() -> None:
    settings = settings_in_containers()
    for caller, name, port in (("TICKETS", "scan_service", "SCANS_PORT"), ("SCANS", "ticket_service", "TICKETS_PORT")):
        variable = f"{caller}_{port.removesuffix('_PORT')}_ADDRESS"
        default = documented()[variable].strip("`").rpartition(":")[2]
        assert settings[variable] == f"${{{variable}:-{name}:${{{port}:-{default}}}}}"


def test_every_file_that_containers_mount_exists() -> None:
    mounts = [mount for service in compose()["services"].values() for mount in service.get("volumes", [])]
    sources = {mount.partition(":")[0] for mount in mounts if mount.startswith("./")}
    assert "./deploy/postgres/scans.sql" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_an_empty_variable_of_a_container_counts_as_unset() -> None:
    unchanged = [name for name, value in settings_in_containers().items() if value.endswith(":-}")]
    empty, unset = Environment(dict.fromkeys(unchanged, "")), Environment({})
    assert read_ticket_settings(empty) == read_ticket_settings(unset)
    assert read_scan_settings(empty) == read_scan_settings(unset)


def test_a_container_has_time_to_drain() -> None:
    for service in compose()["services"].values():
        if "build" in service:
            assert service["stop_grace_period"] == "20s"
            assert read_ticket_settings(Environment({})).service.listen.drain_seconds < 20
