"""Every test that docs/security.md names exists."""

import ast
import re

from scan_service.policy import POLICY as SCANS
from tests.environment import ROOT
from ticket_service.policy import POLICY as TICKETS
from ticketing.chassis.callers import Role

PAGE = ROOT / "docs" / "security.md"


def named() -> set[tuple[str, str]]:
    """Return the tests that the page names, with their files."""
    return set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE.read_text()))


def defined_in(path: str) -> set[str]:
    file = ROOT / path
    if not file.exists():
        return set()
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    found = named()
    assert len(found) > 20, "the page names tests in another way"
    assert {f"{path}::{name}" for path, name in found if name not in defined_in(path)} == set()


def test_the_table_of_operators_names_exactly_their_calls() -> None:
    [table] = re.findall(r"^\| an operator .*\n\|---.*\n((?:\| .*\n)+)", PAGE.read_text(), re.MULTILINE)
    calls = [name for row in table.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[2])]
    operated = {
        f"{service}.{rpc}" if rpc == "ListChanges" else rpc
        for method, roles in {**TICKETS, **SCANS}.items()
        for service, rpc in [method.rpartition(".")[2].split("/")]
        if Role.OPERATOR in roles
    }
    assert sorted(calls) == sorted(operated)


def test_every_threat_has_a_guard_and_a_test() -> None:
    tables = re.findall(r"^\| threat .*\n\|---.*\n((?:\| .*\n)+)", PAGE.read_text(), re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 50, "the page has its tables in another form"
    for row in rows:
        threat, guard, shown = (cell.strip() for cell in row.strip("|").split("|"))
        assert threat
        assert guard
        assert "test_" in shown, threat
