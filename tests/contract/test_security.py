"""Every test that docs/security.md names exists."""

import ast
import re

from tests.environment import ROOT

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


def test_every_threat_has_a_guard_and_a_test() -> None:
    rows = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| threat ")
    ]
    assert rows
    for row in rows:
        threat, guard, shown = (cell.strip() for cell in row.strip("|").split("|"))
        assert threat
        assert guard
        assert "test_" in shown, threat
