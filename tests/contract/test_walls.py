"""The walls between the rooms: who may import whom. ARCHITECTURE.md says why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"chassis", "admission", "ticket_service", "scan_service", "gate", "dev"}

# What each room may import of the others.
DOORS = {
    "chassis": set(),
    "ticket_service": {"chassis"},
    "scan_service": {"chassis"},
    # Of the scan service only the rules: the next test says so.
    "gate": {"chassis", "scan_service"},
    "dev": {"chassis"},
}
# A domain is plain data and pure functions: no I/O, and nothing that could do any.
NOT_IN_A_DOMAIN = {"grpc", "sqlalchemy", "psycopg2", "asyncio", "socket", "logging", "threading", "time", "random"}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that a wall can be seen"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", DOORS)
def test_a_room_imports_only_those_it_has_a_door_to(room: str) -> None:
    files = sources(room)
    assert files, f"{room} is empty: this test would show nothing"
    allowed = DOORS[room] | {room}
    through_walls = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imported(path)
        if (first := module.split(".")[0]) in ROOMS and first not in allowed
    ]
    assert through_walls == []


def test_a_gate_knows_the_scan_service_by_its_rules_alone() -> None:
    """Device and service decide by the same functions; all else of the service stays where the databases are."""
    beyond = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("gate")
        for module in imported(path)
        if module.split(".")[0] == "scan_service" and module.split(".")[:2] != ["scan_service", "domain"]
    ]
    assert beyond == []


@pytest.mark.parametrize("service", ["ticket_service", "scan_service"])
def test_a_domain_does_no_input_or_output(service: str) -> None:
    files = sources(f"{service}/domain")
    assert files, f"{service}/domain is empty: this test would show nothing"
    outside = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imported(path)
        if module.split(".")[0] in NOT_IN_A_DOMAIN
        or (module.startswith(f"{service}.") and not module.startswith(f"{service}.domain"))
    ]
    assert outside == []


@pytest.mark.parametrize("service", ["ticket_service", "scan_service"])
def test_sql_stands_in_the_store_alone(service: str) -> None:
    allowed = {"store"}
    elsewhere = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(service)
        if path.relative_to(ROOT / service).parts[0] not in allowed
        for module in imported(path)
        if module == "sqlalchemy" or (module.startswith("sqlalchemy.") and not module.startswith("sqlalchemy.engine"))
    ]
    assert elsewhere == []


@pytest.mark.parametrize("service", ["ticket_service", "scan_service"])
def test_messages_and_domain_meet_in_convert_alone(service: str) -> None:
    """Use cases and the store know no messages; servicers hand them to convert."""
    may_know_messages = {
        "convert",
        "convert.py",
        "servicers",
        "adapters",
        "app.py",
        "domain",
        "stream.py",
        "upload_lane.py",
    }
    elsewhere = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(service)
        if path.relative_to(ROOT / service).parts[0] not in may_know_messages
        for module in imported(path)
        if module.startswith("ticketing.") and not module.startswith("ticketing.tickets.v1.ticket_token")
    ]
    assert elsewhere == []


def test_the_chassis_has_no_word_of_tickets_or_scans() -> None:
    words = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources("chassis")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(word in line.lower().replace("ticketing", "") for word in ("ticket", "scan ", "scans", "purchase"))
    ]
    # Its docstring says so, in those words.
    assert [line for line in words if "no word of tickets or scans" not in line] == []
