"""The walls between packages and layers: imports run downward only. ARCHITECTURE.md gives the reasons."""

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.environment import ROOT

# The packages that each package may import.
ALLOWED = {
    "ticketing.admission": set[str](),
    "ticketing.client": set[str](),
    "ticketing.chassis": {"ticketing.client"},
    "ticketing.gate": {"ticketing.admission", "ticketing.chassis", "ticketing.client"},
    "ticket_service": {"ticketing.chassis"},
    "scan_service": {"ticketing.admission", "ticketing.chassis"},
    "dev": {"ticketing.chassis", "ticketing.client"},
}
# The layers of a service, from the top; a module imports its own layer and those below.
LAYERS = (
    "__main__",
    "command_line",
    "app",
    "commands",
    "settings",
    "servicers",
    "gate_stream",
    "replication",
    "delivery",
    "use_cases",
    "adapters",
    "convert",
    "store",
    "errors",
    "policy",
    "domain",
)
# A token's payload is a format of its own, not a message between programs.
PAYLOADS = {"ticketing.tickets.v1.ticket_token_pb2"}
# The policy reads the roles of each method from the descriptors; it handles no message.
MESSAGE_LAYERS = {"servicers", "convert", "gate_stream", "policy"}
# A domain contains data and pure functions; these modules could do I/O or depend on time or chance.
NOT_IN_A_DOMAIN = {"grpc", "sqlalchemy", "psycopg2", "asyncio", "socket", "logging", "threading", "time", "random"}
SERVICES = ("ticket_service", "scan_service")
# Tests wait for a state with tests/environment/waiting.py. These modules sleep, because the sleep is the load itself.
SLEEPING = {
    "tests/environment/waiting.py": "the pause between two looks at a state",
    "tests/processes/gate.py": "a process is killed at a random moment",
    "tests/processes/terminal.py": "the pace of a person who types",
    "tests/scan_service/test_edges.py": "nothing shows that the service has read a message",
    "tests/scan_service/test_processes.py": "the offset of a race, and scans before an event closes",
    "tests/scan_service/use_cases/test_admission_watcher.py": "a transaction stays open while others commit",
    "tests/scan_service/use_cases/test_revocations.py": "scans arrive at a rate",
    "tests/e2e/retrying_devices.py": "devices retry at random moments",
    "tests/e2e/retrying_shop.py": "buyers pay and retry at random moments",
    "tests/e2e/test_flash_sale.py": "buyers arrive at random moments",
    "tests/e2e/test_gate_load.py": "the offset of a race",
    "tests/faults/alone.py": "a full disk lasts for a time",
    "tests/faults/callers.py": "clients retry at random moments",
    "tests/faults/gates.py": "gates retry at random moments",
    "tests/faults/guards.py": "a control widens a race",
    "tests/faults/network.py": "the delay of a network",
    "tests/faults/own_servers.py": "a server hangs for a time",
    "tests/faults/patroni.py": "a machine of a cluster is missing for a time",
    "tests/faults/program.py": "a process looks whether its parent lives",
    "tests/faults/standby.py": "a standby lags for a time",
    "tests/faults/torture.py": "the load lasts for a time",
}


@cache
def imported(path: Path) -> list[str]:
    """Return every module that a file imports, inside functions too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend([name for name in names if is_module(name)] or [node.module])
    return found


@cache
def is_module(name: str) -> bool:
    path = name.replace(".", "/")
    return any((root / f"{path}.py").exists() or (root / path).is_dir() for root in (ROOT, ROOT / "protos"))


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package.replace(".", "/")).rglob("*.py"))
    assert files, f"{package} has no modules"
    return files


def package_of(module: str) -> str | None:
    return next((package for package in ALLOWED if module == package or module.startswith(f"{package}.")), None)


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def layer_of_module(service: str, module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == service and len(parts) > 1 else None


def offences(files: Sequence[Path], is_offence) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imported(path)
        if is_offence(path, module)
    ]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_the_packages_it_may(package: str) -> None:
    allowed = ALLOWED[package] | {package, None}
    assert offences(sources(package), lambda _, module: package_of(module) not in allowed) == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_module_of_a_service_belongs_to_a_layer(service: str) -> None:
    assert {layer_of(path) for path in sources(service)} <= {*LAYERS, "__init__"}


@pytest.mark.parametrize("service", SERVICES)
def test_imports_run_downward_only(service: str) -> None:
    def runs_upward(path: Path, module: str) -> bool:
        layer = layer_of_module(service, module)
        return layer is not None and LAYERS.index(layer) < LAYERS.index(layer_of(path))

    assert offences([path for path in sources(service) if layer_of(path) != "__init__"], runs_upward) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_call_reaches_the_store_through_a_use_case(service: str) -> None:
    def passes_by(path: Path, module: str) -> bool:
        return layer_of(path) in {"servicers", "gate_stream", "convert"} and (
            layer_of_module(service, module) in {"store", "adapters"}
        )

    assert offences(sources(service), passes_by) == []


@pytest.mark.parametrize("package", ["ticket_service.domain", "scan_service.domain", "ticketing.admission"])
def test_a_domain_does_no_input_or_output(package: str) -> None:
    assert offences(sources(package), lambda _, module: module.split(".")[0] in NOT_IN_A_DOMAIN) == []


@pytest.mark.parametrize("service", SERVICES)
def test_sql_and_tables_stand_in_the_store_alone(service: str) -> None:
    """Use cases may pass a Connection or URL on; they build no statement and name no table."""

    def is_sql(path: Path, module: str) -> bool:
        is_engine = module == "sqlalchemy.engine" or module.startswith("sqlalchemy.engine.")
        of_sqlalchemy = module.split(".", maxsplit=1)[0] == "sqlalchemy" and not is_engine
        return not in_store(path) and (of_sqlalchemy or module.endswith(".store.tables"))

    def in_store(path: Path) -> bool:
        return "store" in {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}

    assert offences(sources(service), is_sql) == []


@pytest.mark.parametrize("service", SERVICES)
def test_messages_stand_at_the_edge_alone(service: str) -> None:
    def is_message(path: Path, module: str) -> bool:
        return layer_of(path) not in MESSAGE_LAYERS and module.endswith("_pb2") and module not in PAYLOADS

    assert offences(sources(service), is_message) == []


@pytest.mark.parametrize(
    "program",
    [
        ("ticket_service", "ticketing.chassis"),
        ("scan_service", "ticketing.chassis", "ticketing.admission"),
        ("ticketing.gate", "ticketing.chassis", "ticketing.admission"),
    ],
    ids=lambda program: program[0],
)
def test_one_program_has_no_two_classes_of_one_name(program: Sequence[str]) -> None:
    defined: dict[str, list[str]] = {}
    for package in program:
        for path in sources(package):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    defined.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def test_the_chassis_contains_no_word_of_tickets_or_scans() -> None:
    words = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources("ticketing.chassis")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(word in line.lower().replace("ticketing", "") for word in ("ticket", "scan ", "scans", "purchase"))
    ]
    assert words == []


def test_no_test_imports_a_conftest() -> None:
    importing = re.compile(r"^ *(from|import) .*\bconftest\b", re.MULTILINE)
    assert [path for path in sources("tests") if importing.search(path.read_text())] == []


def test_tests_wait_for_states_and_do_not_sleep() -> None:
    """`sleep(0)` is allowed: other tasks run once, and no time passes."""
    asleep = re.compile(r"^[^#\n]*\bsleep\((?!0\)|\))", re.MULTILINE)
    assert {str(p.relative_to(ROOT)) for p in sources("tests") if asleep.search(p.read_text())} == set(SLEEPING)
