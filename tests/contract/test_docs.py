"""The Markdown pages name files, modules and each other: each of them exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import ROOT

PAGES = [
    page for folder in (".", "docs", "docs/api", "docs/decisions") for page in sorted((ROOT / folder).glob("*.md"))
]
DECISIONS = ROOT / "docs" / "decisions"
# A path in backticks that begins with one of these starts at the root of the repository.
FOLDERS = "benchmarks|dev|docs|packaging|protos|scan_service|tests|ticket_service|ticketing"


def missing_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text()):
        if not (page.parent / target).exists():
            yield target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its own, and those that GitHub makes of headings."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    named = re.findall(r'<a (?:id|name)="([^"]+)"', text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain} | set(named)


def missing_anchors(page: Path) -> Iterator[str]:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        other = page.parent / target if target else page
        if other.suffix == ".md" and anchor not in anchors(other):
            yield f"{target}#{anchor}"


def missing_paths(page: Path) -> Iterator[str]:
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text()):
        if not (ROOT / path).exists():
            yield path


def missing_modules(page: Path) -> Iterator[str]:
    for module in re.findall(rf"python -m ((?:{FOLDERS})[\w.]*)", page.read_text()):
        path = ROOT / module.replace(".", "/")
        if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists()):
            yield module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_that_a_page_names_exists(page: Path) -> None:
    missing = [*missing_links(page), *missing_anchors(page), *missing_paths(page), *missing_modules(page)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_the_marks_of_a_merge(page: Path) -> None:
    assert re.findall(r"^(?:<{7}|={7}|>{7})(?: .*)?$", page.read_text(), re.MULTILINE) == []


def test_the_index_lists_every_decision() -> None:
    linked = re.findall(r"^(\d+)\. \[[^]]+\]\((\S+)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    files = sorted(path.name for path in DECISIONS.glob("0*.md"))
    assert [name for _, name in linked] == files
    assert [int(number) for number, _ in linked] == [int(name[:4]) for name in files]
